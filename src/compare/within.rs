//! `simoom within`: a program started in a namespace that has no name, on one core, to end with who
//! started it.
//!
//! In come a namespace, a core and a command line; this process becomes that program. Between fork
//! and exec only unsafe code may act, so the way leads over a process of its own.

use crate::error::{Error, Result};
use crate::thread;
use clap::Args;
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
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
    /// The network namespace, as a file: /proc/PID/fd/N of a process that holds it open
    #[arg(long, value_name = "FILE")]
    pub namespace: PathBuf,

    /// Keep to this core
    #[arg(long, value_name = "CORE")]
    pub core: usize,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<OsString>,
}

/// Becomes the program. Returns only if that cannot be done.
pub fn run(options: &WithinOptions) -> Result<()> {
    let WithinOptions { namespace, core, program } = options;
    let cannot = |doing: &str, error: std::io::Error| Error::because(doing, error);
    // Before the namespace is opened, which fails if the parent has ended already.
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| cannot("asking to end with the parent", error.into()))?;
    let file = File::open(namespace).map_err(|error| cannot("opening the namespace", error))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| cannot("entering the namespace", error.into()))?;
    thread::pin(*core).map_err(|error| cannot("keeping to a core", error))?;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|error| cannot("raising the limit of open files", error.into()))?;
    let (name, arguments) = program.split_first().expect("clap requires one");
    Err(cannot(&format!("starting {}", name.display()), Command::new(name).args(arguments).exec()))
}
