//! The program: everything is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: simoom::HugePages = simoom::HugePages;

fn main() -> ExitCode {
    simoom::cli::run(std::env::args_os())
}
