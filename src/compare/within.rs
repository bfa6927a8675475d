//! `simoom within`: runs a program in an unnamed network namespace, on one core, until the process
//! that started it ends.
//!
//! This process enters the namespace, pins itself and then executes the program. Between fork and
//! exec only unsafe code may run, so it takes a process of its own.

use crate::error::{Error, Result};
use crate::{open_files, thread};
use clap::Args;
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// The flags of `within`.
#[derive(Args, Clone, Debug)]
pub struct WithinOptions {
    /// Network namespace, as a file: /proc/PID/fd/N of a process that holds it open
    #[arg(long, value_name = "FILE")]
    pub namespace: PathBuf,

    /// Pin the program to this core
    #[arg(long, value_name = "CORE")]
    pub core: usize,

    /// Program and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<OsString>,
}

/// Executes the program. Returns only on an error.
pub fn run(options: &WithinOptions) -> Result<()> {
    let WithinOptions { namespace, core, program } = options;
    let cannot = |doing: &str, error: std::io::Error| Error::because(doing, error);
    // Before opening the namespace: that fails if the parent has already ended.
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| cannot("asking to end with the parent", error.into()))?;
    let file = File::open(namespace).map_err(|error| cannot("opening the namespace", error))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| cannot("entering the namespace", error.into()))?;
    thread::pin(*core).map_err(|error| cannot("keeping to a core", error))?;
    open_files::allow_all().map_err(|error| cannot("raising the limit of open files", error))?;
    let (name, arguments) = program.split_first().expect("clap requires one");
    Err(cannot(&format!("starting {}", name.display()), Command::new(name).args(arguments).exec()))
}
