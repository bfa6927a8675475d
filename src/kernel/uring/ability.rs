//! Checks whether this process can use io_uring, by setting up a temporary ring. The error says why
//! not, and the remedy.

use crate::kernel::sys::Ring;
use std::io;
use std::time::Duration;

/// Restricts io_uring: 1 to a group, 2 disables it.
const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// Checks whether a ring can be set up.
pub(in crate::kernel) fn ability() -> Result<(), String> {
    // Closing a ring interrupts the thread that created it, so that is a separate thread.
    let tried = std::thread::scope(|scope| scope.spawn(try_ring).join());
    match tried.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
        Ok(missing) if missing.is_empty() => Ok(()),
        Ok(missing) => {
            Err(format!("this kernel's io_uring cannot {}; Linux 6.1 can", missing.join(", ")))
        }
        Err(error) => {
            let switch = std::fs::read_to_string(SWITCH).unwrap_or_default();
            Err(obstacle(&error, switch.trim()))
        }
    }
}

/// Creates and enters a ring. Returns the missing operations.
fn try_ring() -> io::Result<Vec<&'static str>> {
    let mut ring = Ring::new(1)?;
    ring.wait(Duration::ZERO)?;
    ring.missing()
}

/// Explains an error of the set-up. `switch` is the content of [`SWITCH`].
fn obstacle(error: &io::Error, switch: &str) -> String {
    match (error.raw_os_error(), switch) {
        (Some(libc::EPERM), "2") => {
            "io_uring is forbidden: sysctl kernel.io_uring_disabled is 2; 0 would allow it".into()
        }
        (Some(libc::EPERM), "1") => "io_uring is forbidden to this process: sysctl kernel.io_uring_disabled is 1; \
             CAP_SYS_ADMIN or the group kernel.io_uring_group would allow it"
            .into(),
        (Some(libc::EPERM | libc::EACCES), _) => {
            "io_uring is forbidden, by a seccomp filter or a security module: container engines do so by default"
                .into()
        }
        (Some(libc::ENOSYS), _) => "this kernel, or the sandbox around it, has no io_uring".into(),
        (Some(libc::EINVAL), _) => "this kernel's io_uring is too old: Linux 6.1 is needed".into(),
        _ => format!("io_uring cannot be set up: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obstacles_name_the_cause_and_the_remedy() {
        let said = |errno, switch| obstacle(&io::Error::from_raw_os_error(errno), switch);
        assert!(said(libc::EPERM, "2").contains("kernel.io_uring_disabled is 2; 0 would allow it"));
        assert!(said(libc::EPERM, "1").contains("kernel.io_uring_group"));
        assert!(said(libc::EPERM, "0").contains("seccomp"));
        assert!(said(libc::EPERM, "").contains("seccomp"));
        assert!(said(libc::ENOSYS, "").contains("has no io_uring"));
        assert!(said(libc::EINVAL, "0").contains("Linux 6.1"));
        assert!(said(libc::ENOMEM, "0").contains("ory"));
    }
}
