//! Media types: from the extension of a file name, with a charset only if it is certain.
//!
//! The database is that of mime_guess. [`CORRECTIONS`] lists the extensions for which the database
//! is wrong or empty, and the operator may override both.

use super::charset;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

/// The type of a file with an unknown extension (RFC 9110 §8.3).
const UNKNOWN: &str = "application/octet-stream";

/// Types that the database lacks or has wrong. Most are those of the IANA registry.
const CORRECTIONS: [(&str, &str); 29] = [
    ("br", "application/octet-stream"),
    ("cbor", "application/cbor"),
    ("cjs", "text/javascript"),
    ("crt", "application/x-x509-ca-cert"),
    ("ico", "image/vnd.microsoft.icon"),
    ("ipynb", "application/x-ipynb+json"),
    ("jsonl", "application/jsonl"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4s", "video/iso.segment"),
    ("manifest", "text/plain"),
    ("map", "application/json"),
    ("mjs", "text/javascript"),
    ("ndjson", "application/x-ndjson"),
    ("otf", "font/otf"),
    ("pem", "application/x-pem-file"),
    ("rpm", "application/x-rpm"),
    ("sql", "application/sql"),
    ("tgz", "application/gzip"),
    ("toml", "application/toml"),
    ("ts", "video/mp2t"),
    ("usdz", "model/vnd.usdz+zip"),
    ("vcf", "text/vcard"),
    ("wasm", "application/wasm"),
    ("wgsl", "text/wgsl"),
    ("woff", "font/woff"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zst", "application/zstd"),
];

/// Types outside `text/` that consist of text, and so compress well.
const TEXT_LIKE: [&str; 16] = [
    "application/atom+xml",
    "application/javascript",
    "application/json",
    "application/jsonl",
    "application/rtf",
    "application/sql",
    "application/toml",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-ndjson",
    "application/x-sh",
    "application/x-tar",
    "application/xml",
    "application/yaml",
    "image/bmp",
];

/// A media type, possibly with parameters.
pub(super) type MediaType = Cow<'static, str>;

/// The operator's types by extension, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types(HashMap<String, String>);

impl Types {
    /// Adds `EXTENSION=TYPE`, such as `ts=text/plain`. An error says what is wrong.
    pub fn add(&mut self, extension: &str, media_type: &str) -> Result<(), String> {
        let extension = extension.strip_prefix('.').unwrap_or(extension);
        if extension.is_empty() || extension.contains(['.', '/']) {
            return Err(format!("extension {extension:?}: letters and digits, such as ts"));
        }
        check(media_type)?;
        self.0.insert(extension.to_ascii_lowercase(), media_type.to_owned());
        Ok(())
    }

    /// The type for the file name's extension.
    pub(super) fn of(&self, name: &Path) -> MediaType {
        let Some(extension) = name.extension().and_then(OsStr::to_str) else {
            return UNKNOWN.into();
        };
        let extension = extension.to_ascii_lowercase();
        if let Some(media_type) = self.0.get(&extension) {
            return media_type.clone().into();
        }
        let corrected = CORRECTIONS.binary_search_by_key(&extension.as_str(), |(known, _)| known);
        match corrected {
            Ok(at) => CORRECTIONS[at].1.into(),
            Err(_) => mime_guess::from_ext(&extension).first_raw().unwrap_or(UNKNOWN).into(),
        }
    }
}

/// RFC 9110 §8.3.1: `type/subtype`, perhaps with parameters, of visible bytes and spaces.
fn check(media_type: &str) -> Result<(), String> {
    let (essence, _) = media_type.split_once(';').unwrap_or((media_type, ""));
    let is_token = |text: &str| {
        let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !text.is_empty() && text.bytes().all(is_tchar)
    };
    let is_type = essence
        .trim_end()
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    if is_type && media_type.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        Ok(())
    } else {
        Err(format!("media type {media_type:?}: TYPE/SUBTYPE, such as text/plain"))
    }
}

/// The value of Content-Type. Adds `charset=utf-8` if the text is UTF-8. The charset of other text
/// is unknown.
pub(super) fn content_type(media_type: &str, content: &[u8]) -> String {
    let is_text = media_type.starts_with("text/") && !media_type.contains("charset=");
    let charset = if is_text && charset::is_utf_8(content) { "; charset=utf-8" } else { "" };
    format!("{media_type}{charset}")
}

/// Whether content of this type is text, or compresses like text.
pub(super) fn is_compressible(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim_end();
    essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("+json")
        || matches!(essence, "font/ttf" | "font/otf" | "image/vnd.microsoft.icon")
        || TEXT_LIKE.contains(&essence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_the_name_and_text_names_its_charset() {
        let table: [(&str, &[u8], &str); 21] = [
            ("index.html", b"<p>", "text/html; charset=utf-8"),
            ("a.css", b"", "text/css; charset=utf-8"),
            ("a.js", b"1", "text/javascript; charset=utf-8"),
            ("a.mjs", b"1", "text/javascript; charset=utf-8"),
            ("README.TXT", b"\xc3\xa4", "text/plain; charset=utf-8"),
            ("latin1.txt", b"\xe4", "text/plain"),
            ("iso-2022-jp.html", b"<p>\x1b$B$3\x1b(B", "text/html"),
            ("koi8.html", b"<meta charset=koi8-r><p>", "text/html"),
            ("a.json", b"{}", "application/json"),
            ("a.svg", b"<svg/>", "image/svg+xml"),
            ("a.png", b"\x89PNG", "image/png"),
            ("none", b"text", "application/octet-stream"),
            ("live.m3u8", b"#EXTM3U", "application/vnd.apple.mpegurl"),
            ("0.ts", b"G", "video/mp2t"),
            ("0.m4s", b"", "video/iso.segment"),
            ("a.rpm", b"", "application/x-rpm"),
            ("a.wasm", b"\0asm", "application/wasm"),
            ("a.js.gz", b"", "application/gzip"),
            ("a.js.zst", b"", "application/zstd"),
            ("a.js.br", b"", "application/octet-stream"),
            ("a.woff2", b"", "font/woff2"),
        ];
        let types = Types::default();
        for (name, content, expected) in table {
            assert_eq!(content_type(&types.of(Path::new(name)), content), expected, "{name}");
        }
    }

    #[test]
    fn the_corrections_are_sorted_and_valid() {
        assert!(CORRECTIONS.is_sorted_by_key(|(extension, _)| *extension));
        for (extension, media_type) in CORRECTIONS {
            assert_eq!(check(media_type), Ok(()), "{extension}");
        }
    }

    #[test]
    fn the_operator_decides_first() {
        let mut types = Types::default();
        types.add(".TS", "text/plain").unwrap();
        types.add("html", "text/html; charset=windows-1252").unwrap();
        assert_eq!(types.of(Path::new("a.Ts")), "text/plain");
        let html = types.of(Path::new("a.html"));
        assert_eq!(content_type(&html, b"a"), "text/html; charset=windows-1252");
        for (extension, media_type) in [
            ("", "text/plain"),
            ("a/b", "text/plain"),
            ("tar.gz", "text/plain"),
            ("a", "text"),
            ("a", "text/"),
            ("a", "text/pl ain"),
            ("a", "text/plain\r\nX: y"),
        ] {
            assert!(types.add(extension, media_type).is_err(), "{extension} {media_type}");
        }
    }

    #[test]
    fn text_is_compressible_and_media_is_not() {
        for media_type in ["text/css", "image/svg+xml", "application/json", "text/html;charset=x"] {
            assert!(is_compressible(media_type), "{media_type}");
        }
        for media_type in ["image/png", "video/mp2t", "font/woff2", "application/gzip", UNKNOWN] {
            assert!(!is_compressible(media_type), "{media_type}");
        }
    }
}
