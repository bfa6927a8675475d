//! The errors, each with what the user can do about it.

use super::Mode;
use std::error::Error as StdError;
use std::fmt;
use std::io;

/// A failure to open, or to go on using, an interface through AF_XDP.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The interface does not exist in the calling thread's network namespace.
    NoInterface {
        /// The name as given.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// An option is out of its bounds.
    Option {
        /// The field of [`super::OpenOptions`].
        name: &'static str,
        /// The value as given.
        value: u64,
        /// The allowed range, and what to do.
        bound: String,
    },
    /// No AF_XDP socket can be opened.
    Socket(io::Error),
    /// The kernel refused the UMEM.
    Umem {
        /// Its size.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// A ring could not be created or mapped.
    Ring {
        /// The receive queue.
        queue: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// A socket could not be bound to its queue.
    Bind {
        /// The receive queue.
        queue: u32,
        /// The mode that was tried.
        mode: Mode,
        /// What the kernel said.
        source: io::Error,
    },
    /// The XDP program or one of its maps refused a step.
    Program {
        /// The step.
        step: &'static str,
        /// The error of the loader and of the kernel.
        reason: String,
    },
    /// No mode worked; the reasons in the order they were tried.
    NoMode {
        /// The interface.
        interface: String,
        /// Each mode with the reason against it.
        tried: Vec<(Mode, String)>,
    },
    /// The interface was removed, or its queue was unbound, while in use.
    Gone {
        /// The receive queue.
        queue: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// The error of a step with an XDP program or one of its maps. It has the errors of the loader
    /// and of the kernel, each cause once, and what to do. For callers that took a map with
    /// [`super::Program::take_map`].
    pub fn program<E: StdError + 'static>(step: &'static str, error: E) -> Error {
        let mut reason = error.to_string();
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
        let mut remedy = "";
        while let Some(error) = cause {
            let text = error.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
            {
                remedy = program_remedy(code);
            }
            cause = error.source();
        }
        if let Some((brief, log)) = reason.split_once(". Verifier output:") {
            tracing::debug!(step, "verifier output: {log}");
            reason = brief.to_owned();
        }
        Error::Program { step, reason: reason + remedy }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoInterface { name, source } => {
                write!(
                    f,
                    "no interface {name:?} in this network namespace ({source}); `ip link` lists them"
                )
            }
            Error::Option { name, value, bound } => write!(f, "{name} is {value}: {bound}"),
            Error::Socket(source) => {
                write!(f, "no AF_XDP socket: {source}{}", socket_remedy(source))
            }
            Error::Umem { bytes, source } => {
                write!(f, "the kernel did not take {} MiB of UMEM: {source}", bytes >> 20)?;
                match source.raw_os_error() {
                    Some(libc::ENOBUFS) => f.write_str(
                        "; raise the locked-memory limit (`ulimit -l`, LimitMEMLOCK=) or grant CAP_IPC_LOCK",
                    ),
                    _ => Ok(()),
                }
            }
            Error::Ring { queue, source } => {
                write!(f, "queue {queue}: a ring could not be set up: {source}")
            }
            Error::Bind { queue, mode, source } => {
                write!(
                    f,
                    "queue {queue} cannot be bound in {mode} mode: {source}{}",
                    bind_remedy(source)
                )
            }
            Error::Program { step, reason } => write!(f, "the XDP program: {step}: {reason}"),
            Error::NoMode { interface, tried } => {
                write!(f, "{interface} cannot be opened through AF_XDP")?;
                tried.iter().try_for_each(|(mode, reason)| write!(f, "; {mode}: {reason}"))
            }
            Error::Gone { queue, source } => {
                write!(
                    f,
                    "queue {queue} was unbound: the interface is gone or was reconfigured ({source})"
                )
            }
        }
    }
}

/// What to do if no AF_XDP socket can be opened.
fn socket_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => "; it needs CAP_NET_RAW: run as root or grant it",
        Some(libc::EAFNOSUPPORT) => "; the kernel is built without CONFIG_XDP_SOCKETS",
        _ => "",
    }
}

fn bind_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY) => {
            "; another AF_XDP socket holds it: `ss --xdp -p` or `bpftool net` may show whose"
        }
        Some(libc::EOPNOTSUPP) => "; the driver does not offer it",
        Some(libc::ENETDOWN) => "; bring the interface up: `ip link set IF up`",
        _ => "",
    }
}

/// `ip link` removes a program that was attached without a link, and does nothing to a bpf_link.
const REMOVE_OTHER: &str = "; another XDP program is attached to the interface: stop the process that holds it. \
     `bpftool net` shows the program, `bpftool link` its link: `bpftool link detach id N` detaches that; if there is none, \
     `ip link set dev IF xdp off` removes the program";

fn program_remedy(code: i32) -> &'static str {
    match code {
        libc::EPERM => "; it needs CAP_BPF and CAP_NET_ADMIN: run as root or grant them",
        // The verifier refuses what only the privileged may do, such as to advance in a packet by a
        // length read there.
        libc::EACCES => "; it needs CAP_PERFMON: run as root or grant it",
        // EEXIST if that program runs in another mode.
        libc::EBUSY | libc::EEXIST => REMOVE_OTHER,
        libc::EOPNOTSUPP => "; the driver cannot run XDP programs",
        _ => "",
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::NoInterface { source, .. }
            | Error::Socket(source)
            | Error::Umem { source, .. }
            | Error::Ring { source, .. }
            | Error::Bind { source, .. }
            | Error::Gone { source, .. } => Some(source),
            Error::Option { .. } | Error::Program { .. } | Error::NoMode { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_causes_once_and_what_to_do() {
        let denied = io::Error::from_raw_os_error(libc::EPERM);
        let Error::Program { step, reason } = Error::program("loading", denied) else {
            panic!("another error")
        };
        assert_eq!(step, "loading");
        assert_eq!(reason.matches("not permitted").count(), 1, "{reason}");
        assert!(reason.contains("CAP_BPF"), "{reason}");
    }

    #[test]
    fn another_program_is_named_as_the_obstacle_in_either_mode() {
        for code in [libc::EBUSY, libc::EEXIST] {
            let reason =
                Error::program("attaching", io::Error::from_raw_os_error(code)).to_string();
            assert!(
                reason.contains("bpftool link detach id N") && reason.contains("xdp off"),
                "{reason}"
            );
        }
    }

    #[test]
    fn the_verifiers_log_is_no_part_of_an_error() {
        let refused = io::Error::other(
            "it returned 13. Verifier output: 0: R1=ctx() R10=fp0\n1: (bf) r7 = r1",
        );
        let Error::Program { reason, .. } = Error::program("loading", refused) else {
            panic!("another error")
        };
        assert_eq!(reason, "it returned 13");
    }
}
