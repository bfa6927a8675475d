//! Tables that the versions of a content share. A version that differs in a few entries holds
//! these, and shares the others.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// A list that grows. Clones share what it had before.
#[derive(Debug)]
pub(super) struct List<T> {
    base: Arc<Vec<T>>,
    more: Vec<Arc<T>>,
}

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List { base: Arc::default(), more: Vec::new() }
    }
}

impl<T> Clone for List<T> {
    fn clone(&self) -> List<T> {
        List { base: self.base.clone(), more: self.more.clone() }
    }
}

impl<T> List<T> {
    /// The entry at `index`, which must be one of the list.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &T {
        match self.base.get(index) {
            Some(entry) => entry,
            None => &self.more[index - self.base.len()],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.base.len() + self.more.len()
    }

    /// The number of entries beside those that all versions share.
    pub(super) fn added(&self) -> usize {
        self.more.len()
    }

    pub(super) fn push(&mut self, entry: T) {
        match Arc::get_mut(&mut self.base) {
            Some(base) if self.more.is_empty() => base.push(entry),
            _ => self.more.push(Arc::new(entry)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.base.iter().chain(self.more.iter().map(Arc::as_ref))
    }
}

/// A map whose clones share what it had before, and replace or remove entries.
#[derive(Debug)]
pub(super) struct Map<K, V, S> {
    base: Arc<HashMap<K, V, S>>,
    /// Entries that replace those of the base; `None` for a removed one.
    changed: HashMap<K, Option<V>, S>,
}

impl<K, V, S: Default> Default for Map<K, V, S> {
    fn default() -> Map<K, V, S> {
        Map { base: Arc::default(), changed: HashMap::default() }
    }
}

impl<K: Clone, V: Clone, S: Clone> Clone for Map<K, V, S> {
    fn clone(&self) -> Map<K, V, S> {
        Map { base: self.base.clone(), changed: self.changed.clone() }
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> Map<K, V, S> {
    #[inline(always)]
    pub(super) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if !self.changed.is_empty()
            && let Some(changed) = self.changed.get(key)
        {
            return changed.as_ref();
        }
        self.base.get(key)
    }

    /// Sets an entry. Returns whether the map had none in this place.
    pub(super) fn insert(&mut self, key: K, value: V) -> bool {
        match Arc::get_mut(&mut self.base) {
            Some(base) if self.changed.is_empty() => base.insert(key, value).is_none(),
            _ => self.changed.insert(key, Some(value)).is_none(),
        }
    }

    pub(super) fn remove(&mut self, key: K) {
        self.changed.insert(key, None);
    }

    /// The entries to change them, before the map has clones.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        Arc::get_mut(&mut self.base).into_iter().flat_map(HashMap::iter_mut)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let base = self.base.iter().filter(|(key, _)| !self.changed.contains_key(*key));
        base.chain(self.changed.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))))
    }

    /// The number of entries that differ from those that all versions share.
    pub(super) fn changes(&self) -> usize {
        self.changed.len()
    }

    /// Entries that there is memory for.
    pub(super) fn capacity(&self) -> usize {
        self.base.capacity() + self.changed.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::RandomState;

    #[test]
    fn a_clone_changes_without_a_change_of_the_original() {
        let mut list = List::default();
        (0..3).for_each(|n| list.push(n));
        let mut map = Map::<_, _, RandomState>::default();
        (0..3).for_each(|n| assert!(map.insert(n, 'a')));
        let (mut more, mut other) = (list.clone(), map.clone());
        more.push(3);
        assert!(other.insert(1, 'b'));
        other.insert(7, 'c');
        other.remove(2);
        drop((list.clone(), map.clone()));
        assert_eq!((list.len(), more.len(), more.get(2), more.get(3)), (3, 4, &2, &3));
        assert_eq!(list.iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(more.iter().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
        let all = |map: &Map<i32, char, RandomState>| {
            let mut all: Vec<_> = map.iter().map(|(key, value)| (*key, *value)).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(all(&map), [(0, 'a'), (1, 'a'), (2, 'a')]);
        assert_eq!(all(&other), [(0, 'a'), (1, 'b'), (7, 'c')]);
        assert_eq!((other.get(&1), other.get(&2), other.get(&0)), (Some(&'b'), None, Some(&'a')));
        assert_eq!((map.changes(), other.changes()), (0, 3));
    }
}
