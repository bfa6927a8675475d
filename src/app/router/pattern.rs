//! The patterns of routes. Input: text. Output: segments.
//!
//! A pattern is a path. Each segment is a literal or a parameter `{name}`, which matches one
//! non-empty segment. The last segment may be `{*name}`, which matches the non-empty remaining
//! path. Literals are compared with decoded segments, so `/café` matches `/caf%C3%A9`.

/// The maximum number of segments of a pattern.
const SEGMENTS_MAX: usize = 64;

/// One segment of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'p> {
    Literal(&'p str),
    Param(&'p str),
    /// The last segment, which matches the remaining path.
    Rest(&'p str),
}

/// Parses `pattern` into segments, or reports its error.
pub(super) fn parse(pattern: &str) -> Result<Vec<Segment<'_>>, &'static str> {
    let path = pattern.strip_prefix('/').ok_or("must begin with a slash")?;
    let segments = path.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
    if segments.len() > SEGMENTS_MAX {
        return Err("must have at most 64 segments");
    }
    let before_last = &segments[..segments.len() - 1];
    if before_last.iter().any(|segment| matches!(segment, Segment::Rest(_))) {
        return Err("must have {*name} at its end only");
    }
    let names: Vec<&str> = segments.iter().filter_map(Segment::name).collect();
    if names.iter().enumerate().any(|(at, name)| names[..at].contains(name)) {
        return Err("must give each parameter a name of its own");
    }
    Ok(segments)
}

impl<'p> Segment<'p> {
    /// The name of a parameter.
    pub(super) fn name(&self) -> Option<&'p str> {
        match *self {
            Segment::Literal(_) => None,
            Segment::Param(name) | Segment::Rest(name) => Some(name),
        }
    }
}

fn segment(text: &str) -> Result<Segment<'_>, &'static str> {
    if !text.contains(['{', '}']) {
        return if text.contains(['?', '#']) {
            Err("must have neither a query nor a fragment")
        } else if matches!(text, "." | "..") {
            Err("must have no dot segments: they are resolved before routes are compared")
        } else {
            Ok(Segment::Literal(text))
        };
    }
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let inner = inner.ok_or("must have a parameter as a whole segment: /{name}/")?;
    let (name, is_rest) = inner.strip_prefix('*').map_or((inner, false), |name| (name, true));
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err("must name parameters with letters, digits and _");
    }
    Ok(if is_rest { Segment::Rest(name) } else { Segment::Param(name) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Segment::{Literal, Param, Rest};

    #[test]
    fn patterns_and_their_segments() {
        let table: [(&str, &[Segment<'_>]); 6] = [
            ("/", &[Literal("")]),
            ("/a", &[Literal("a")]),
            ("/a/", &[Literal("a"), Literal("")]),
            ("/users/{id}", &[Literal("users"), Param("id")]),
            (
                "/users/{id}/posts/{n}",
                &[Literal("users"), Param("id"), Literal("posts"), Param("n")],
            ),
            ("/files/{*path}", &[Literal("files"), Rest("path")]),
        ];
        for (pattern, expected) in table {
            assert_eq!(parse(pattern).as_deref(), Ok(expected), "{pattern}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for pattern in [
            "", "a", "/{}", "/{*}", "/a{b}", "/{b}c", "/{*a}/b", "/{a}/{a}", "/{a-b}", "/a?b",
            "/a#b", "/../a", "/{", "/}",
        ] {
            assert!(parse(pattern).is_err(), "{pattern}");
        }
    }
}
