//! Patterns of request paths, and templates that are filled with what a pattern matched.
//!
//! A star in a pattern matches any bytes, slashes too, as few as possible. A template inserts what
//! the first star matched for `$1`, up to `$9`, and the whole path for `$0`.

/// Limit of the stars in a pattern: `$1` to `$9` name them.
const STARS_MAX: usize = 9;
/// Limit of the length of a pattern or template, in bytes.
const TEXT_MAX_BYTES: usize = 512;

/// A pattern of request paths, such as `/assets/*` or `*.css`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
}

/// The parts of a path that a pattern matched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Captures<'p> {
    /// The whole path, then the match of each star.
    parts: [&'p [u8]; STARS_MAX + 1],
}

impl<'p> Captures<'p> {
    /// The path alone.
    pub(super) fn path(path: &'p [u8]) -> Captures<'p> {
        let mut parts: [&[u8]; STARS_MAX + 1] = [b""; STARS_MAX + 1];
        parts[0] = path;
        Captures { parts }
    }
}

impl Pattern {
    /// Parses a pattern. An error says what is wrong.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let stars = text.matches('*').count();
        if !text.starts_with(['/', '*']) {
            return Err(format!("path pattern {text:?}: begin with / or *"));
        }
        if stars > STARS_MAX {
            return Err(format!("path pattern {text:?}: {stars} stars, at most {STARS_MAX}"));
        }
        check_length("path pattern", text)?;
        Ok(Pattern { text: text.into() })
    }

    /// The number of stars.
    pub fn stars(&self) -> usize {
        self.text.matches('*').count()
    }

    /// Whether the pattern matches every path.
    pub(super) fn matches_all(&self) -> bool {
        matches!(&*self.text, "*" | "/*")
    }

    /// Whether the pattern matches the path, which is decoded.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        self.captures(path).is_some()
    }

    /// What the stars match in the path, which is decoded. `None` if the pattern does not match.
    pub(super) fn captures<'p>(&self, path: &'p [u8]) -> Option<Captures<'p>> {
        let mut captures = Captures::path(path);
        let mut literals = self.text.as_bytes().split(|&byte| byte == b'*');
        let mut rest = path.strip_prefix(literals.next()?)?;
        let mut star = 0;
        let mut next = literals.next();
        while let Some(literal) = next {
            next = literals.next();
            let (matched, behind) = match next {
                // The last literal ends the path.
                None => (rest.strip_suffix(literal)?, &b""[..]),
                Some(_) => {
                    let at = memchr::memmem::find(rest, literal)?;
                    (&rest[..at], &rest[at + literal.len()..])
                }
            };
            star += 1;
            captures.parts[star] = matched;
            rest = behind;
        }
        rest.is_empty().then_some(captures)
    }
}

/// Text with places for what a pattern matched, such as `/new/$1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
}

/// How a template inserts the bytes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    /// As they are.
    Plain,
    /// In URI form.
    Encoded,
}

impl Template {
    /// A path for a pattern with `stars` stars. An error says what is wrong.
    pub fn path(text: &str, stars: usize) -> Result<Template, String> {
        if !text.starts_with(['/', '$']) {
            return Err(format!("path {text:?}: begin with /"));
        }
        Template::parse("path", text, stars)
    }

    /// A location for a pattern with `stars` stars: a path or an URL. An error says what is wrong.
    pub fn location(text: &str, stars: usize) -> Result<Template, String> {
        let is_url = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
        if !text.starts_with('/') && !is_url {
            return Err(format!("location {text:?}: begin with /, http:// or https://"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("location {text:?}: encode other bytes than visible ASCII by %"));
        }
        Template::parse("location", text, stars)
    }

    fn parse(what: &str, text: &str, stars: usize) -> Result<Template, String> {
        check_length(what, text)?;
        for part in text.split('$').skip(1) {
            match part.bytes().next() {
                Some(digit @ b'0'..=b'9') if usize::from(digit - b'0') <= stars => {}
                _ => {
                    return Err(format!(
                        "{what} {text:?}: ${} names nothing; the pattern has $0 to ${stars}",
                        part.chars().next().map_or(String::new(), String::from)
                    ));
                }
            }
        }
        Ok(Template { text: text.into() })
    }

    /// The text, if it is the same for all paths.
    pub(super) fn constant(&self) -> Option<&str> {
        Some(&*self.text).filter(|text| !text.contains('$'))
    }

    /// Writes the text to `out`. Returns its length; `None` if it is longer than `out`.
    pub(super) fn fill(
        &self,
        captures: &Captures<'_>,
        insert: Insert,
        out: &mut [u8],
    ) -> Option<usize> {
        let mut len = 0;
        let mut push = |bytes: &[u8]| {
            out.get_mut(len..len + bytes.len())?.copy_from_slice(bytes);
            len += bytes.len();
            Some(())
        };
        let mut parts = self.text.as_bytes().split(|&byte| byte == b'$');
        push(parts.next()?)?;
        for part in parts {
            let (digit, literal) = part.split_first()?;
            let captured = captures.parts.get(usize::from(digit.checked_sub(b'0')?))?;
            match insert {
                Insert::Plain => push(captured)?,
                Insert::Encoded => captured.iter().try_for_each(|byte| push(&encoded(byte)))?,
            }
            push(literal)?;
        }
        Some(len - self.remove_authority(&mut out[..len]))
    }

    /// Two slashes at the start would make another host of what a client sent. Removes all but one
    /// if the template begins with one. Returns the number of removed bytes.
    fn remove_authority(&self, filled: &mut [u8]) -> usize {
        if self.text.starts_with("//") {
            return 0;
        }
        let slashes = filled.iter().take_while(|byte| **byte == b'/').count();
        let extra = slashes.saturating_sub(1);
        filled.copy_within(extra.., 0);
        extra
    }
}

/// A byte of a path in URI form: characters other than `pchar` and `/` (RFC 3986 §3.3) are
/// percent-encoded.
pub(super) fn encoded(byte: &u8) -> impl std::ops::Deref<Target = [u8]> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let is_plain = byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(byte);
    if is_plain {
        Encoded { bytes: [*byte, 0, 0], len: 1 }
    } else {
        let digit = |value: u8| DIGITS[usize::from(value)];
        Encoded { bytes: [b'%', digit(byte >> 4), digit(byte & 15)], len: 3 }
    }
}

struct Encoded {
    bytes: [u8; 3],
    len: usize,
}

impl std::ops::Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn check_length(what: &str, text: &str) -> Result<(), String> {
    match text.len() {
        0..=TEXT_MAX_BYTES => Ok(()),
        len => Err(format!("{what}: {len} bytes, at most {TEXT_MAX_BYTES}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_bytes() {
        let table: [(&str, &str, Option<&[&str]>); 15] = [
            ("/a", "/a", Some(&[])),
            ("/a", "/ab", None),
            ("/a", "/", None),
            ("/*", "/", Some(&[""])),
            ("/*", "/a/b", Some(&["a/b"])),
            ("*", "/a", Some(&["/a"])),
            ("*.css", "/x/a.css", Some(&["/x/a"])),
            ("*.css", "/x/a.css.map", None),
            ("*.css", "/a.css.css", Some(&["/a.css"])),
            ("/a/*/b/*", "/a/1/b/2/b/3", Some(&["1", "2/b/3"])),
            ("/a*a", "/a", None),
            ("/a*a", "/aa", Some(&[""])),
            ("/*/*", "/x", None),
            ("/**", "/x", Some(&["", "x"])),
            ("/old/*.html", "/old/a/b.html", Some(&["a/b"])),
        ];
        for (pattern, path, expected) in table {
            let parsed = Pattern::parse(pattern).unwrap();
            let captures = parsed.captures(path.as_bytes());
            let stars = captures.map(|captures| {
                assert_eq!(captures.parts[0], path.as_bytes());
                let stars = &captures.parts[1..=parsed.stars()];
                stars.iter().map(|part| str::from_utf8(part).unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(stars.as_deref(), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn templates_insert_what_was_matched() {
        let pattern = Pattern::parse("/old/*.*").unwrap();
        let captures = pattern.captures("/old/ä b.c".as_bytes()).unwrap();
        let fill = |template: Template, insert| {
            let mut out = [0; 64];
            let len = template.fill(&captures, insert, &mut out).unwrap();
            String::from_utf8(out[..len].to_vec()).unwrap()
        };
        let path = Template::path("/new/$2/$1", 2).unwrap();
        assert_eq!(fill(path, Insert::Plain), "/new/c/ä b");
        let url = Template::location("https://b.example/$1?a=$2", 2).unwrap();
        assert_eq!(fill(url, Insert::Encoded), "https://b.example/%C3%A4%20b?a=c");
        let whole = Template::location("https://b.example$0", 0).unwrap();
        assert_eq!(fill(whole, Insert::Encoded), "https://b.example/old/%C3%A4%20b.c");
        let pattern = Pattern::parse("/old*").unwrap();
        let captures = pattern.captures(b"/old//evil.example").unwrap();
        let open = Template::location("/$1", 1).unwrap();
        let mut out = [0; 64];
        let len = open.fill(&captures, Insert::Encoded, &mut out).unwrap();
        assert_eq!(&out[..len], b"/evil.example", "no other host");
        let long = Template::path("/$0$0", 0).unwrap();
        assert_eq!(long.fill(&captures, Insert::Plain, &mut [0; 12]), None);
    }

    #[test]
    fn errors_name_the_text_and_the_bound() {
        for text in ["", "a", "a/*", "/1*2*3*4*5*6*7*8*9*0*"] {
            assert!(Pattern::parse(text).unwrap_err().contains(text), "{text}");
        }
        assert!(Pattern::parse(&format!("/{}", "x".repeat(512))).unwrap_err().contains("at most"));
        for text in ["", "a", "/$2", "/$", "/$x"] {
            assert!(Template::path(text, 1).unwrap_err().contains(text), "{text}");
        }
        for text in ["ftp://a/", "//a b", "/a\r\nSet-Cookie: x", "/ä"] {
            assert!(Template::location(text, 1).is_err(), "{text}");
        }
    }
}
