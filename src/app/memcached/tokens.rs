//! A command line taken apart: its bytes in, the places of its tokens out. Only spaces separate
//! tokens; a line longer than [`LINE_MAX_BYTES`] is never taken apart.

/// Longest command line, its end not counted. Longer ones are nonsense, but for `get` and `gets`,
/// whose keys are read one by one.
pub(super) const LINE_MAX_BYTES: usize = 2048;
/// Tokens beyond these are part of the line but of no command.
const TOKENS_MAX: usize = 23;

/// The tokens of one line.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    line: &'a [u8],
    places: [(u16, u16); TOKENS_MAX],
    len: usize,
}

impl<'a> Tokens<'a> {
    /// Takes `line` apart, which has no end-of-line.
    #[inline]
    pub(super) fn of(line: &'a [u8]) -> Tokens<'a> {
        assert!(line.len() <= LINE_MAX_BYTES);
        let mut tokens = Tokens { line, places: [(0, 0); TOKENS_MAX], len: 0 };
        let mut at = 0;
        while tokens.len < TOKENS_MAX {
            while line.get(at) == Some(&b' ') {
                at += 1;
            }
            if at == line.len() {
                break;
            }
            let start = at;
            at = memchr::memchr(b' ', &line[at..]).map_or(line.len(), |distance| at + distance);
            tokens.places[tokens.len] = (start as u16, at as u16);
            tokens.len += 1;
        }
        tokens
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The token at `index`; an empty one if there are not so many.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &'a [u8] {
        if index >= self.len {
            return &[];
        }
        let (start, end) = self.places[index];
        &self.line[usize::from(start)..usize::from(end)]
    }

    /// The last one.
    pub(super) fn last(&self) -> &'a [u8] {
        self.get(self.len.wrapping_sub(1))
    }

    /// Those from `start` on.
    #[inline]
    pub(super) fn from(&self, start: usize) -> impl Iterator<Item = &'a [u8]> + '_ {
        (start..self.len).map(|index| self.get(index))
    }

    /// What the line has from the token at `index` on.
    pub(super) fn rest(&self, index: usize) -> &'a [u8] {
        if index < self.len { &self.line[usize::from(self.places[index].0)..] } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spaces_separate() {
        let tokens = Tokens::of(b"  set  a\tb c ");
        let all: Vec<&[u8]> = tokens.from(0).collect();
        assert_eq!(all, [&b"set"[..], b"a\tb", b"c"]);
        assert_eq!(
            (tokens.last(), tokens.get(3), tokens.rest(1)),
            (&b"c"[..], &b""[..], &b"a\tb c "[..])
        );
        let none = Tokens::of(b"  ");
        assert_eq!((none.len(), none.last(), none.rest(0)), (0, &b""[..], &b""[..]));
    }

    #[test]
    fn tokens_beyond_the_bound_are_left_out() {
        let line = "a ".repeat(100);
        assert_eq!(Tokens::of(line.as_bytes()).len(), TOKENS_MAX);
    }
}
