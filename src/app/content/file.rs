//! A file with its pre-rendered responses. Only the date and the connection fields are missing.

use super::charset;
use super::hash::fnv1a;
use crate::app::http::Validators;
use crate::app::http::date::imf_fixdate;
use crate::app::http::response::Rendered;
use mime_guess::Mime;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// A file in memory, ready to send.
#[derive(Debug)]
pub(crate) struct File {
    ok: Rendered,
    not_modified: Rendered,
    etag: Box<[u8]>,
    modified: Option<u64>,
}

impl File {
    /// Renders the responses for `content`. `modified` is in unix seconds.
    pub(super) fn new(mime: &Mime, content: &Arc<[u8]>, modified: Option<u64>) -> File {
        let etag = format!("\"{:016x}-{:x}\"", fnv1a(content), content.len());
        let mut fields = String::new();
        // Writing to a string cannot fail.
        let _ = write!(fields, "Content-Type: {}\r\n", content_type(mime, content));
        let _ = write!(fields, "Content-Length: {}\r\nETag: {etag}\r\n", content.len());
        if let Some(modified) = modified {
            let date = imf_fixdate(modified);
            let _ = write!(fields, "Last-Modified: {}\r\n", String::from_utf8_lossy(&date));
        }
        File {
            ok: Rendered::sharing(&fields, content),
            // RFC 9110 §15.4.5: send Date and the validator, and no other description of the
            // content.
            not_modified: Rendered::new(&format!("ETag: {etag}\r\n"), b""),
            etag: etag.into_bytes().into(),
            modified,
        }
    }

    #[inline]
    pub(crate) fn ok(&self) -> &Rendered {
        &self.ok
    }

    pub(crate) fn not_modified(&self) -> &Rendered {
        &self.not_modified
    }

    pub(crate) fn validators(&self) -> Validators<'_> {
        Validators { etag: &self.etag, modified: self.modified }
    }

    /// Bytes of memory outside the struct.
    pub(super) fn memory_bytes(&self) -> usize {
        self.ok.memory_bytes() + self.not_modified.memory_bytes() + self.etag.len()
    }
}

/// The media type for the file name's extension.
pub(super) fn mime_of(name: &Path) -> Mime {
    mime_guess::from_path(name).first_or_octet_stream()
}

/// Adds `charset=utf-8` if the text is UTF-8. The charset of other text is unknown.
fn content_type(mime: &Mime, content: &[u8]) -> String {
    let is_text = mime.type_() == "text" && mime.get_param("charset").is_none();
    let charset = if is_text && charset::is_utf_8(content) { "; charset=utf-8" } else { "" };
    format!("{mime}{charset}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_the_name_and_text_names_its_charset() {
        let table: [(&str, &[u8], &str); 11] = [
            ("index.html", b"<p>", "text/html; charset=utf-8"),
            ("a.css", b"", "text/css; charset=utf-8"),
            ("a.js", b"1", "text/javascript; charset=utf-8"),
            ("README.TXT", b"\xc3\xa4", "text/plain; charset=utf-8"),
            ("latin1.txt", b"\xe4", "text/plain"),
            ("iso-2022-jp.html", b"<p>\x1b$B$3\x1b(B", "text/html"),
            ("koi8.html", b"<meta charset=koi8-r><p>", "text/html"),
            ("a.json", b"{}", "application/json"),
            ("a.svg", b"<svg/>", "image/svg+xml"),
            ("a.png", b"\x89PNG", "image/png"),
            ("none", b"text", "application/octet-stream"),
        ];
        for (name, content, expected) in table {
            assert_eq!(content_type(&mime_of(Path::new(name)), content), expected, "{name}");
        }
    }

    #[test]
    fn the_entity_tag_follows_the_content_alone() {
        let tag = |content: &[u8], modified| {
            File::new(&mime_of(Path::new("a")), &content.into(), modified).etag
        };
        assert_eq!(tag(b"one", None), tag(b"one", Some(7)));
        assert_ne!(tag(b"one", None), tag(b"two", None));
        assert_eq!(&*tag(b"", None), b"\"cbf29ce484222325-0\"");
    }
}
