//! The program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    simoom::cli::run(std::env::args_os())
}
