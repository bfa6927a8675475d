//! The list of a directory without index.html (`--autoindex`). Every name is escaped.

use super::build::ByPath;
use super::encode;
use super::walk::Tree;
use crate::app::http::imf_fixdate;
use std::collections::HashMap;
use std::fmt::Write;

/// The entries of each directory, by its path.
pub(super) type Children = HashMap<Vec<u8>, Vec<Child>>;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Child {
    /// False for directories, which come first.
    is_file: bool,
    /// With a slash at the end of a directory.
    name: Vec<u8>,
    bytes: u64,
    modified: Option<u64>,
}

/// The entries of all directories of the tree, sorted.
pub(super) fn children(tree: &Tree, files: &ByPath<'_>) -> Children {
    let mut children = Children::new();
    for path in &tree.directories {
        if let Some((parent, name)) = split(&path[..path.len() - 1]) {
            let name = [name, b"/"].concat();
            let child = Child { is_file: false, name, bytes: 0, modified: None };
            children.entry(parent.to_vec()).or_default().push(child);
        }
    }
    for (path, loaded) in files {
        if let Some((parent, name)) = split(path) {
            let (name, modified) = (name.to_vec(), loaded.identity.modified(u64::MAX));
            let bytes = loaded.data.len();
            let child = Child { is_file: true, name, bytes, modified };
            children.entry(parent.to_vec()).or_default().push(child);
        }
    }
    children.values_mut().for_each(|children| children.sort_unstable());
    children
}

/// The parent of a path, with its slash, and the last name. `None` for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    Some(path.split_at(slash + 1))
}

/// The page of the directory at `path`, which ends with a slash.
pub(super) fn page(path: &[u8], children: &[Child]) -> String {
    let title = escape(path);
    let mut page = format!(
        "<!doctype html>\n<meta charset=utf-8>\n<title>{title}</title>\n<h1>{title}</h1>\n<table>\n"
    );
    if path != b"/" {
        page.push_str("<tr><td><a href=\"../\">../</a>\n");
    }
    for Child { is_file, name, bytes, modified } in children {
        // `./` keeps a colon in a name from being taken for the end of a scheme (RFC 3986 §4.2).
        let (href, name) = (escape(encode(name).as_bytes()), escape(name));
        // Writing to a string cannot fail.
        let _ = write!(page, "<tr><td><a href=\"./{href}\">{name}</a>");
        if *is_file {
            let date = modified.map(imf_fixdate);
            let date = date.as_ref().map_or("".into(), |date| String::from_utf8_lossy(date));
            let _ = write!(page, "<td align=right>{bytes}<td>{date}");
        }
        page.push('\n');
    }
    page.push_str("</table>\n");
    page
}

/// Text for HTML, in elements and quoted attributes.
fn escape(text: &[u8]) -> String {
    let mut escaped = String::new();
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let child = |name: &[u8]| Child {
            is_file: !name.ends_with(b"/"),
            name: name.into(),
            bytes: 3,
            modified: Some(784_111_777),
        };
        let page =
            page(b"/<b>/", &[child(b"d/"), child(b"\"><script>"), child(b"a b:c"), child(b"\xff")]);
        assert!(page.contains("<h1>/&lt;b&gt;/</h1>") && page.contains("href=\"../\""), "{page}");
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("<a href=\"./%22%3E%3Cscript%3E\">&quot;&gt;&lt;script&gt;</a>"));
        assert!(page.contains("<a href=\"./a%20b:c\">a b:c</a><td align=right>3<td>Sun, 06 Nov"));
        assert!(page.contains("<a href=\"./d/\">d/</a>\n"), "{page}");
        assert!(page.contains("href=\"./%FF\""), "{page}");
    }
}
