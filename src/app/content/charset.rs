//! Detects UTF-8 text. Input: bytes. Output: yes or no.
//!
//! A charset in the response overrides the charset that the text declares. So the response carries
//! one only if nothing contradicts it. 7-bit encodings (ISO-2022, UTF-16 of ASCII) are valid UTF-8,
//! but contain control characters that text does not use. A page may also declare another encoding.

/// HTML and CSS look for a declaration in this many bytes.
const DECLARATION_MAX_BYTES: usize = 1024;
/// The text before an encoding's name in HTML, CSS and XML.
const DECLARATIONS: [&[u8]; 2] = [b"charset", b"encoding"];

/// Whether `text` is valid UTF-8, contains no control characters but white space, and declares no
/// other encoding.
pub(super) fn is_utf_8(text: &[u8]) -> bool {
    let is_control = |byte: &u8| *byte < b' ' && !b"\t\n\x0c\r".contains(byte);
    std::str::from_utf8(text).is_ok()
        && !text.iter().any(is_control)
        && declared(&text[..text.len().min(DECLARATION_MAX_BYTES)])
            .all(|name| name.eq_ignore_ascii_case(b"utf-8") || name.eq_ignore_ascii_case(b"utf8"))
}

/// The names of encodings in `charset=NAME`, `@charset "NAME"` or `encoding="NAME"`.
fn declared(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..text.len()).filter_map(|at| {
        let behind = DECLARATIONS.iter().find_map(|word| {
            let (start, behind) = text[at..].split_at_checked(word.len())?;
            start.eq_ignore_ascii_case(word).then_some(behind)
        })?;
        let start = behind.iter().position(|byte| !b" \t\n\x0c\r=\"'".contains(byte))?;
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(byte);
        let name = &behind[start..];
        let len = name.iter().position(|byte| !is_name(byte)).unwrap_or(name.len());
        // Without a mark in between, the text is prose about charsets.
        (behind[..start].iter().any(|byte| b"=\"'".contains(byte)) && len > 0)
            .then_some(&name[..len])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_utf_8() {
        let table: [(&str, &[u8], bool); 20] = [
            ("nothing", b"", true),
            ("ASCII", b"a\tb\r\n\x0c", true),
            ("two bytes", b"\xc3\xa4", true),
            ("a byte order mark", b"\xef\xbb\xbfa", true),
            ("Latin-1", b"\xe4", false),
            ("ISO-2022-JP", b"\x1b$B$3$s\x1b(B", false),
            ("ISO-2022-KR", b"\x0e!!\x0f", false),
            ("UTF-16", b"a\0b\0", false),
            ("HTML says so", b"<meta charset=\"UTF-8\">", true),
            ("HTML says otherwise", b"<meta charset = 'Shift_JIS'>", false),
            ("without quotes", b"<META CHARSET=euc-kr>", false),
            (
                "of old",
                b"<meta http-equiv=Content-Type content=\"text/html; charset=gb2312\">",
                false,
            ),
            ("CSS says so", b"@charset \"utf-8\";", true),
            ("CSS says otherwise", b"@charset \"iso-8859-1\";", false),
            ("XML says so", b"<?xml version='1.0' encoding='utf-8'?>", true),
            ("XML says otherwise", b"<?xml version='1.0' encoding='windows-1252'?>", false),
            ("one of two", b"<meta charset=utf-8><meta charset=koi8-r>", false),
            ("prose", b"The charset of a page, and its encoding.", true),
            ("nothing named", b"charset=", true),
            ("cut off", b"encoding", true),
        ];
        for (what, text, expected) in table {
            assert_eq!(is_utf_8(text), expected, "{what}");
        }
    }

    #[test]
    fn what_stands_far_from_the_beginning_declares_nothing() {
        let text = [&[b' '; DECLARATION_MAX_BYTES][..], b"charset=koi8-r"].concat();
        assert!(is_utf_8(&text));
    }
}
