//! Recognizes the request fields that this handler reads. Input: a field name. Output: a `Field`.
//!
//! To read another field, add it to `Field` and to `NAMES`. Most fields of a request are none of
//! these, and one table lookup tells so. The compiler finds a hash without collisions.

use Field::*;

/// A field that determines the meaning of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    AcceptEncoding,
    Connection,
    ContentLength,
    Expect,
    Host,
    IfMatch,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    IfUnmodifiedSince,
    Range,
    TransferEncoding,
}

const NAMES: &[(&str, Field)] = &[
    ("Accept-Encoding", AcceptEncoding),
    ("Connection", Connection),
    ("Content-Length", ContentLength),
    ("Expect", Expect),
    ("Host", Host),
    ("If-Match", IfMatch),
    ("If-Modified-Since", IfModifiedSince),
    ("If-None-Match", IfNoneMatch),
    ("If-Range", IfRange),
    ("If-Unmodified-Since", IfUnmodifiedSince),
    ("Range", Range),
    ("Transfer-Encoding", TransferEncoding),
];

/// The field of this name, in any case. `None` for fields that this handler ignores.
#[inline]
pub(super) fn of(name: &[u8]) -> Option<Field> {
    let (known, field) = TABLE[slot(name, FACTOR)]?;
    let known = known.as_bytes();
    // Most clients use the case of the RFCs, and an exact comparison takes whole words.
    (name == known || name.eq_ignore_ascii_case(known)).then_some(field)
}

/// Slots of the hash table, a power of two.
const SLOTS: usize = 64;

/// The slot of a name: a hash of its length and its last letter, whatever its case.
#[inline]
const fn slot(name: &[u8], factor: usize) -> usize {
    let Some(last) = name.last() else { return 0 };
    (name.len() * factor + (*last | 0x20) as usize) % SLOTS
}

/// The first factor that gives each of [`NAMES`] a slot of its own.
const FACTOR: usize = {
    let mut factor = 1;
    while !is_collision_free(factor) {
        factor += 1;
        assert!(factor < SLOTS, "no factor avoids collisions: raise SLOTS");
    }
    factor
};

const fn is_collision_free(factor: usize) -> bool {
    let mut taken = [false; SLOTS];
    let mut at = 0;
    while at < NAMES.len() {
        let slot = slot(NAMES[at].0.as_bytes(), factor);
        if taken[slot] {
            return false;
        }
        taken[slot] = true;
        at += 1;
    }
    true
}

static TABLE: [Option<(&str, Field)>; SLOTS] = {
    let mut table = [None; SLOTS];
    let mut at = 0;
    while at < NAMES.len() {
        table[slot(NAMES[at].0.as_bytes(), FACTOR)] = Some(NAMES[at]);
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_in_any_case_and_no_other() {
        for (name, field) in NAMES {
            for name in [name.to_string(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(of(name.as_bytes()), Some(*field), "{name}");
                assert_eq!(of(&name.as_bytes()[1..]), None, "{name} without its first letter");
                assert_eq!(
                    of(format!("X{}", &name[1..]).as_bytes()),
                    None,
                    "{name} with another letter"
                );
            }
        }
        for name in ["", "A", "Accept", "User-Agent", "Cookie", "Host\u{e4}"] {
            assert_eq!(of(name.as_bytes()), None, "{name}");
        }
    }
}
