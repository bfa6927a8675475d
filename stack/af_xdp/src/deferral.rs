//! Keeps the interrupts of a NIC masked while a packet loop polls it.
//!
//! In: an interface. Out: its settings `napi_defer_hard_irqs` and `gro_flush_timeout`, changed
//! until the value is restored or dropped. A write to them also sets those of each NAPI instance
//! (Linux 6.13); instances that had others get them back. With SO_PREFER_BUSY_POLL alone the kernel
//! unmasks the interrupts after each poll (kernel documentation, networking/napi). No frame passes
//! through here.

use super::napi::{self, Napi};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fs, mem};

/// The settings of an interface and their values during busy polling: polls without a packet until
/// interrupts are unmasked, and nanoseconds after which the kernel polls if the loop does not.
const SETTINGS: [(&str, &str); 2] =
    [("napi_defer_hard_irqs", "100"), ("gro_flush_timeout", "200000")];

/// Changed settings.
#[derive(Debug)]
pub(crate) struct Deferral {
    /// Files with their values before; empty when restored.
    before: Mutex<Vec<(PathBuf, String)>>,
    /// NAPI instances with settings of their own before.
    napis: Vec<Napi>,
}

impl Deferral {
    /// Changes the settings of an interface.
    pub(crate) fn of(interface: &str, ifindex: u32) -> io::Result<Deferral> {
        // An error means a kernel without such settings.
        let napis = napi::of(ifindex).unwrap_or_default();
        let mut deferral = Deferral::at(&Path::new("/sys/class/net").join(interface), ifindex)?;
        let own = |napi: &Napi| {
            let of_napi = [napi.defer_hard_irqs.to_string(), napi.gro_flush_timeout.to_string()];
            let of_interface: Vec<String> =
                deferral.before().iter().map(|(_, value)| value.clone()).collect();
            is_own(&of_napi, &of_interface)
        };
        let napis = napis.into_iter().filter(own).collect();
        deferral.napis = napis;
        Ok(deferral)
    }

    /// Changes the settings in a folder of sysfs.
    fn at(folder: &Path, ifindex: u32) -> io::Result<Deferral> {
        // A process that has changed its network namespace may still see /sys of another.
        if read(&folder.join("ifindex"))? != ifindex.to_string() {
            return Err(io::Error::other("/sys shows another network namespace"));
        }
        let deferral = Deferral { before: Mutex::default(), napis: Vec::new() };
        for (name, value) in SETTINGS {
            let file = folder.join(name);
            let before = read(&file)?;
            fs::write(&file, value)?;
            // A killed process has left them.
            let before = if before == value { "0".to_owned() } else { before };
            deferral.before().push((file, before));
        }
        Ok(deferral)
    }

    fn before(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, String)>> {
        self.before.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Restores the settings, once.
    pub(crate) fn restore(&self) {
        let before = mem::take(&mut *self.before());
        let napis = if before.is_empty() { &[] } else { self.napis.as_slice() };
        for (file, value) in before {
            // The interface may be gone.
            if let Err(error) = fs::write(&file, value) {
                tracing::debug!(%error, file = %file.display(), "cannot restore a setting");
            }
        }
        for napi in napis {
            // The driver may have made new instances.
            if let Err(error) = napi::set(napi) {
                tracing::debug!(%error, napi = napi.id, "cannot restore the settings");
            }
        }
    }
}

impl Drop for Deferral {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Whether the settings of a NAPI instance are its own: neither those of the interface, nor left by
/// a killed process.
fn is_own(of_napi: &[String; 2], of_interface: &[String]) -> bool {
    of_napi[..] != *of_interface && *of_napi != SETTINGS.map(|(_, value)| value.to_owned())
}

fn read(file: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(file)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder as of the interface with index 7.
    fn folder(name: &str, values: [&str; 2]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("af_xdp-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ifindex"), "7\n").unwrap();
        for ((name, _), value) in SETTINGS.iter().zip(values) {
            fs::write(folder.join(name), format!("{value}\n")).unwrap();
        }
        folder
    }

    fn values(folder: &Path) -> [String; 2] {
        SETTINGS.map(|(name, _)| read(&folder.join(name)).unwrap())
    }

    #[test]
    fn settings_are_changed_and_restored_once() {
        let folder = folder("once", ["2", "30000"]);
        let deferral = Deferral::at(&folder, 7).unwrap();
        assert_eq!(values(&folder), ["100", "200000"]);
        deferral.restore();
        assert_eq!(values(&folder), ["2", "30000"]);
        fs::write(folder.join("napi_defer_hard_irqs"), "5").unwrap();
        drop(deferral);
        assert_eq!(values(&folder), ["5", "30000"], "restored a second time");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed() {
        let folder = folder("killed", ["100", "200000"]);
        drop(Deferral::at(&folder, 7).unwrap());
        assert_eq!(values(&folder), ["0", "0"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_instance_has_settings_of_its_own_if_they_differ() {
        let two = |defer: &str, timeout: &str| [defer.to_owned(), timeout.to_owned()];
        assert!(!is_own(&two("0", "0"), &two("0", "0")));
        assert!(is_own(&two("2", "0"), &two("0", "0")));
        assert!(!is_own(&two("100", "200000"), &two("0", "0")), "left by a killed process");
    }

    #[test]
    fn an_interface_of_another_namespace_is_left_alone() {
        let folder = folder("other", ["0", "0"]);
        let error = Deferral::at(&folder, 8).unwrap_err().to_string();
        assert!(error.contains("another network namespace"), "{error}");
        assert_eq!(values(&folder), ["0", "0"]);
        fs::remove_dir_all(folder).unwrap();
    }
}
