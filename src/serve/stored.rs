//! Maintenance of the memcached store by the control thread, while workers sleep, and its counters.

use crate::app::memcached;
use crate::clock;
use crate::error::{Error, Result};
use crate::metrics::{Count, Snapshot};
use crate::panics;
use crate::panics::Containment;
use crate::store::Store;
use std::sync::Arc;

/// Maximum of maintenance steps in one call: in all, the dead memory that a flush of 256 MiB
/// leaves. Workers get the lock of the store between two steps.
const MAINTAIN_MAX: usize = 256;

/// The store, and the destination of its counters.
pub(super) struct Stored {
    store: Arc<Store>,
    snapshot: Arc<Snapshot>,
    containment: Containment,
}

impl Stored {
    pub(super) fn new(store: Arc<Store>, snapshot: Arc<Snapshot>) -> Stored {
        Stored { store, snapshot, containment: Containment::default() }
    }

    /// Frees expired items, because sleeping workers do not, and publishes the counters. Counts a
    /// panic. Returns an error if the panic may have left the store inconsistent.
    pub(super) fn maintain(&self) -> Result<()> {
        let now = u32::try_from(clock::steady_seconds()).unwrap_or(u32::MAX);
        let mut counts: Vec<Count> = Vec::with_capacity(32);
        self.contain(|| {
            let _ = (0..MAINTAIN_MAX).all(|_| self.store.maintain(now));
            memcached::publish_store(&self.store.statistics(), &mut |metric, value| {
                counts.push((metric, value));
            });
        })?;
        self.containment.publish(&mut |metric, value| counts.push((metric, value)));
        self.snapshot.publish(counts.into_iter());
        Ok(())
    }

    fn contain(&self, work: impl FnOnce()) -> Result<()> {
        match panics::reported(|| self.containment.run(work)) {
            Err(panic) if !self.store.is_sound() => {
                Err(Error::failed(format!("store maintenance: panicked at {panic}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panics::HANDLER_PANICS;
    use crate::store::Settings;

    #[test]
    fn a_panic_of_the_upkeep_ends_nothing_unless_the_store_is_in_doubt() {
        panics::install();
        let store =
            Store::new(&Settings { memory_bytes: 16 << 20, ..Settings::default() }).unwrap();
        let stored = Stored::new(store.clone(), Snapshot::new("store"));
        assert!(stored.contain(|| panic!("injected")).is_ok());
        stored.maintain().unwrap();
        assert!(
            stored.snapshot.read().contains(&(&HANDLER_PANICS, 1)),
            "{:?}",
            stored.snapshot.read()
        );
        let in_doubt = stored.contain(|| store.panic_while_locked());
        let error = in_doubt.unwrap_err().to_string();
        assert!(error.starts_with("store maintenance: panicked at src/store/"), "{error}");
        assert!(stored.maintain().is_ok(), "nothing panics, so nothing is asked");
    }
}
