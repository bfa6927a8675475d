//! Under which condition a value is stored or a key deleted, and what came of it.
//!
//! In comes what is asked and what the store holds under the key; out goes a verdict, as
//! memcached's `do_store_item` has it. Nothing here touches memory or locks, so that the rules can
//! be read as a table.

/// Which keys a value may be stored under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Whether or not there is an item.
    #[default]
    Set,
    /// Only where there is none.
    Add,
    /// Only where there is one.
    Replace,
    /// Behind the value of the item that is there; its flags and exptime stay.
    Append,
    /// Before the value of the item that is there; its flags and exptime stay.
    Prepend,
}

/// How a reserved value is to be stored. The default is a plain `set`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Under which condition.
    pub mode: Mode,
    /// Only over an item with this cas unique: `cas`, and the meta flag C. `Some(0)` matches none.
    pub compare: Option<u64>,
    /// The cas unique that the item gets; one of the store's own counting if `None`. The meta flag
    /// E.
    pub cas: Option<u64>,
    /// If `compare` is below the item's cas unique, store all the same, marked stale (the meta flag
    /// I).
    pub invalidate: bool,
    /// With [`Mode::Append`] and [`Mode::Prepend`]: store the value as it is where there is no item
    /// (the meta flag N; flags and exptime are then those of the reservation).
    pub vivify: bool,
}

/// What is to be deleted, and what is to stay. The default is a plain `delete`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delete {
    /// Only an item with this cas unique.
    pub compare: Option<u64>,
    /// The cas unique of an item that stays; one of the store's own counting if `None`.
    pub cas: Option<u64>,
    /// The item stays but is marked stale, so that one client wins the right to renew it (the meta
    /// flag I).
    pub invalidate: bool,
    /// With `invalidate`: the new exptime.
    pub exptime: Option<u32>,
    /// The item stays but with no value, with these client flags and this exptime, and, unless
    /// `cas` or `invalidate` says otherwise, its cas unique (the meta flag x).
    pub emptied: Option<(u32, u32)>,
}

/// What came of a request to store or delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done. The cas unique is that of the item now there, 0 if there is none.
    Stored {
        /// The item's cas unique.
        cas: u64,
    },
    /// The condition of `add`, `replace`, `append` or `prepend` was not met.
    NotStored,
    /// The item has another cas unique.
    Exists,
    /// There is no item to compare, or to delete.
    NotFound,
    /// The joined value would be larger than the store takes.
    TooLarge,
    /// No memory could be had: what could be evicted is pinned by senders.
    OutOfMemory,
}

/// What to do with a value, given what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Put it there.
    Store,
    /// Put it there with the old item's exptime and its token, marked stale.
    StoreStale,
    /// Put it there joined to the old value.
    Join,
    /// Do not.
    Refuse(Outcome),
}

/// The verdict on `commit` where there is an item with the cas unique `old`, or none.
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
