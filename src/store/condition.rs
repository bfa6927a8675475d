//! Conditions of storing and deleting, and their results.
//!
//! A request and the cas unique of the stored item result in a verdict, as in memcached's
//! `do_store_item`. This module uses no memory of the store and no locks.

/// The keys under which a value may be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Store in any case.
    #[default]
    Set,
    /// Store only if there is no item.
    Add,
    /// Store only if there is an item.
    Replace,
    /// Append to the value of the item. Its flags and exptime stay.
    Append,
    /// Prepend to the value of the item. Its flags and exptime stay.
    Prepend,
}

/// How to store a reserved value. The default is a plain `set`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The keys under which the value may be stored.
    pub mode: Mode,
    /// Only replace an item with this cas unique (`cas`, meta flag C). `Some(0)` matches none.
    pub compare: Option<u64>,
    /// Cas unique that the item gets; assigned by the store if `None` (meta flag E).
    pub cas: Option<u64>,
    /// If `compare` is less than the item's cas unique, store the value and mark it stale (meta
    /// flag I).
    pub invalidate: bool,
    /// With [`Mode::Append`] and [`Mode::Prepend`]: if there is no item, store the value with the
    /// flags and exptime of the reservation (meta flag N).
    pub vivify: bool,
}

/// How to delete an item. The default is a plain `delete`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delete {
    /// Only delete an item with this cas unique.
    pub compare: Option<u64>,
    /// Cas unique of an item that stays; assigned by the store if `None`.
    pub cas: Option<u64>,
    /// Mark the item stale instead, so that one client wins the right to recache it (meta flag I).
    pub invalidate: bool,
    /// With `invalidate`: set the exptime.
    pub exptime: Option<u32>,
    /// Empty the item instead, and set its client flags and exptime (meta flag x). Its cas unique
    /// stays unless `cas` or `invalidate` changes it.
    pub emptied: Option<(u32, u32)>,
}

/// Result of a request to store or delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done. The cas unique is 0 if no item is left.
    Stored {
        /// Cas unique of the item.
        cas: u64,
    },
    /// The condition of `add`, `replace`, `append` or `prepend` does not hold.
    NotStored,
    /// The cas unique of the item differs.
    Exists,
    /// There is no item to compare or to delete.
    NotFound,
    /// The joined value would exceed the size limit.
    TooLarge,
    /// Out of memory: senders pin what could be evicted.
    OutOfMemory,
}

/// What to do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Store the value.
    Store,
    /// Store the value with the exptime and the token of the old item, and mark it stale.
    StoreStale,
    /// Store the value joined to the old one.
    Join,
    /// Do not store the value.
    Refuse(Outcome),
}

/// The verdict on `commit`, where `old` is the cas unique of the stored item, if there is one.
pub(super) fn verdict(commit: &Commit, old: Option<u64>) -> Verdict {
    match old {
        Some(old) => over(commit, old),
        None => fresh(commit),
    }
}

fn over(commit: &Commit, old: u64) -> Verdict {
    let differs = commit.compare.is_some_and(|cas| cas != old || cas == 0);
    match commit.mode {
        Mode::Add => Verdict::Refuse(Outcome::NotStored),
        Mode::Append | Mode::Prepend if differs => Verdict::Refuse(Outcome::Exists),
        Mode::Append | Mode::Prepend => Verdict::Join,
        Mode::Set | Mode::Replace if !differs => Verdict::Store,
        Mode::Set | Mode::Replace
            if commit.invalidate && commit.compare.is_some_and(|cas| 0 < cas && cas < old) =>
        {
            Verdict::StoreStale
        }
        Mode::Set | Mode::Replace => Verdict::Refuse(Outcome::Exists),
    }
}

fn fresh(commit: &Commit) -> Verdict {
    match commit.mode {
        Mode::Add => Verdict::Store,
        Mode::Set | Mode::Replace if commit.compare.is_some() => Verdict::Refuse(Outcome::NotFound),
        Mode::Set => Verdict::Store,
        Mode::Append | Mode::Prepend if commit.vivify => Verdict::Store,
        Mode::Replace | Mode::Append | Mode::Prepend => Verdict::Refuse(Outcome::NotStored),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Exists, NotFound, NotStored};
    use Verdict::{Join, Refuse, Store, StoreStale};

    #[test]
    fn verdicts_are_those_of_memcached() {
        let table = [
            (Mode::Set, None, None, Store),
            (Mode::Set, None, Some(5), Store),
            (Mode::Set, Some(5), None, Refuse(NotFound)),
            (Mode::Set, Some(5), Some(5), Store),
            (Mode::Set, Some(4), Some(5), Refuse(Exists)),
            (Mode::Set, Some(0), Some(5), Refuse(Exists)),
            (Mode::Add, None, None, Store),
            (Mode::Add, None, Some(5), Refuse(NotStored)),
            (Mode::Add, Some(5), Some(5), Refuse(NotStored)),
            (Mode::Replace, None, None, Refuse(NotStored)),
            (Mode::Replace, None, Some(5), Store),
            (Mode::Replace, Some(5), None, Refuse(NotFound)),
            (Mode::Replace, Some(6), Some(5), Refuse(Exists)),
            (Mode::Append, None, None, Refuse(NotStored)),
            (Mode::Append, None, Some(5), Join),
            (Mode::Append, Some(4), Some(5), Refuse(Exists)),
            (Mode::Prepend, Some(5), Some(5), Join),
        ];
        for (mode, compare, old, expected) in table {
            let commit = Commit { mode, compare, ..Commit::default() };
            assert_eq!(verdict(&commit, old), expected, "{mode:?} {compare:?} over {old:?}");
        }
    }

    #[test]
    fn an_older_cas_unique_with_invalidate_stores_a_stale_item_and_a_newer_does_not() {
        let commit =
            |compare| Commit { compare: Some(compare), invalidate: true, ..Commit::default() };
        assert_eq!(verdict(&commit(4), Some(5)), StoreStale);
        assert_eq!(verdict(&commit(5), Some(5)), Store);
        assert_eq!(verdict(&commit(6), Some(5)), Refuse(Exists));
        assert_eq!(verdict(&commit(0), Some(5)), Refuse(Exists));
    }

    #[test]
    fn an_append_may_begin_an_item_when_told_so() {
        let commit = Commit { mode: Mode::Append, vivify: true, ..Commit::default() };
        assert_eq!((verdict(&commit, None), verdict(&commit, Some(1))), (Store, Join));
    }
}
