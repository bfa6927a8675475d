//! Splits a command line into tokens. Input: the line's bytes. Output: the tokens' offsets. Only
//! spaces separate tokens. Lines above [`LINE_MAX_BYTES`] are never split.

/// The longest command line, without its end. Only `get` and `gets` may exceed it: the handler
/// reads their keys one by one.
pub(super) const LINE_MAX_BYTES: usize = 2048;
/// The maximum number of tokens. Further tokens belong to the line but to no command.
const TOKENS_MAX: usize = 23;

/// The tokens of one line.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    line: &'a [u8],
    ranges: [(u16, u16); TOKENS_MAX],
    len: usize,
}

impl<'a> Tokens<'a> {
    /// Splits `line`, which must not contain its end.
    #[inline]
    pub(super) fn of(line: &'a [u8]) -> Tokens<'a> {
        assert!(line.len() <= LINE_MAX_BYTES);
        let mut tokens = Tokens { line, ranges: [(0, 0); TOKENS_MAX], len: 0 };
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
            tokens.ranges[tokens.len] = (start as u16, at as u16);
            tokens.len += 1;
        }
        tokens
    }

    /// The number of tokens.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The token at `index`, or an empty token after the last one.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &'a [u8] {
        if index >= self.len {
            return &[];
        }
        let (start, end) = self.ranges[index];
        &self.line[usize::from(start)..usize::from(end)]
    }

    /// The last token.
    pub(super) fn last(&self) -> &'a [u8] {
        self.get(self.len.wrapping_sub(1))
    }

    /// The tokens from `start` on.
    #[inline]
    pub(super) fn from(&self, start: usize) -> impl Iterator<Item = &'a [u8]> + '_ {
        (start..self.len).map(|index| self.get(index))
    }

    /// The line from the token at `index` on.
    pub(super) fn rest(&self, index: usize) -> &'a [u8] {
        if index < self.len { &self.line[usize::from(self.ranges[index].0)..] } else { &[] }
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
