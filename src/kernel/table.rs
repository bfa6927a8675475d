//! The connection table of a worker: a slab of fixed size. Inserting a value returns a key, which
//! events carry. A key of an ended connection finds nothing. Never grows.

/// The last generation. The next one is 1.
const LAST_GENERATION: u32 = (1 << 28) - 1;

/// Identifies one connection for its lifetime. The generation is never 0: keys below 2³² are for
/// the descriptors of the event loop. It is never above [`LAST_GENERATION`]: the highest four bits
/// are for the kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) index: u32,
    generation: u32,
}

impl Key {
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_bits(bits: u64) -> Key {
        Key { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A table of fixed capacity. `free` is a stack, so that recently used slots, which are still
/// cached, are reused first.
pub(super) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Table<T> {
    pub(super) fn new(capacity: usize) -> Table<T> {
        let count = u32::try_from(capacity).expect("settings bound the table below 2^32 slots");
        Table {
            slots: (0..count).map(|_| Slot { generation: 1, value: None }).collect(),
            free: (0..count).rev().collect(),
        }
    }

    pub(super) const fn memory_bytes(capacity: usize) -> usize {
        capacity * (size_of::<Slot<T>>() + size_of::<u32>())
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Inserts `value`. Returns it if the table is full.
    pub(super) fn insert(&mut self, value: T) -> Result<Key, T> {
        let Some(index) = self.free.pop() else { return Err(value) };
        let slot = &mut self.slots[index as usize];
        slot.value = Some(value);
        Ok(Key { index, generation: slot.generation })
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// The key of the connection in the slot.
    pub(super) fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|_| Key { index, generation: slot.generation })
    }

    /// Removes a value and frees its slot. `key` finds nothing from now on.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self
            .slots
            .get_mut(key.index as usize)
            .filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation % LAST_GENERATION + 1;
        self.free.push(key.index);
        Some(value)
    }

    /// Number of slots, free and used.
    pub(super) fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_own_value_only() {
        let mut table = Table::new(2);
        let a = table.insert("a").unwrap();
        let b = table.insert("b").unwrap();
        assert_eq!(table.insert("c"), Err("c"));
        assert!(table.is_full());
        assert_eq!(table.remove(a), Some("a"));
        let c = table.insert("c").unwrap();
        assert_eq!(c.index, a.index);
        assert_eq!(table.get_mut(a), None);
        assert_eq!(table.remove(a), None);
        assert_eq!(table.get_mut(b), Some(&mut "b"));
        assert_eq!(table.len(), 2);
        assert_eq!(table.key_at(c.index), Some(c));
    }

    #[test]
    fn a_key_survives_the_way_through_the_kernel_and_is_never_an_own_descriptor() {
        let mut table = Table::new(3);
        let key = table.insert(()).unwrap();
        assert_eq!(Key::from_bits(key.to_bits()), key);
        assert!(key.to_bits() >= 1 << 32);
        table.slots[2].generation = LAST_GENERATION;
        let (_, last) = (table.insert(()).unwrap(), table.insert(()).unwrap());
        assert!(last.to_bits() < 1 << 60);
        table.remove(last);
        assert!(table.insert(()).unwrap().to_bits() >= 1 << 32);
    }

    #[test]
    fn keys_that_were_never_given_find_nothing() {
        let mut table: Table<()> = Table::new(1);
        assert_eq!(table.get_mut(Key::from_bits(u64::MAX)), None);
        assert_eq!(table.remove(Key::from_bits(1 << 32)), None);
        assert_eq!(table.key_at(7), None);
    }
}
