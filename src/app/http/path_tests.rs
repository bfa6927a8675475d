use super::*;
use proptest::prelude::*;

fn resolved(target: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut scratch = vec![0xaa; target.len()];
    resolve(target, &mut scratch).map(<[u8]>::to_vec)
}

/// What [`resolve`] does without its shortcuts: no byte is passed over, and each path is decoded.
fn resolved_slowly(target: &[u8]) -> Result<Vec<u8>, Refused> {
    let end = target.iter().position(|&byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    match &target[..end] {
        _ if target.get(end) == Some(&b'#') => Err(Refused::Malformed),
        b"" => Ok(b"/".to_vec()),
        path => decode(path, &mut vec![0; target.len()]).map(<[u8]>::to_vec),
    }
}

/// A byte that `resolve` or `decode` treats and the table `SPECIAL` lacks makes a difference.
#[test]
fn the_bytes_that_are_passed_over_change_nothing() {
    for byte in 0..=u8::MAX {
        for rest in [&b""[..], b"a", b"/", b"/a", b".", b"./", b"../", b"41", b"2f/"] {
            for start in [&b"/"[..], b"/a", b"/a/", b"/.", b"/a/."] {
                let target = [start, &[byte], rest].concat();
                let text = target.escape_ascii();
                assert_eq!(resolved(&target), resolved_slowly(&target), "{text}");
            }
        }
    }
}

#[test]
fn targets_and_the_paths_they_name() {
    let table: [(&str, Result<&str, Refused>); 34] = [
        ("/", Ok("/")),
        ("", Ok("/")),
        ("?q", Ok("/")),
        ("/a", Ok("/a")),
        ("/a/", Ok("/a/")),
        ("/a.b/c..d", Ok("/a.b/c..d")),
        ("/a?b=/../c", Ok("/a")),
        ("/a?b%zz", Ok("/a")),
        ("/a%20b", Ok("/a b")),
        ("/%61%62", Ok("/ab")),
        ("/%C3%a4", Ok("/\u{e4}")),
        ("/%25", Ok("/%")),
        ("/%2541", Ok("/%41")),
        ("/a%3Fb", Ok("/a?b")),
        ("/.", Ok("/")),
        ("/./a", Ok("/a")),
        ("/a/.", Ok("/a/")),
        ("/a/..", Ok("/")),
        ("/a/../b", Ok("/b")),
        ("/a/b/../../c/", Ok("/c/")),
        ("/a/%2e%2E/b", Ok("/b")),
        ("/a/.%2e", Ok("/")),
        ("/...", Ok("/...")),
        ("/.git", Ok("/.git")),
        ("//a///b", Ok("/a/b")),
        ("/..", Err(Refused::AboveRoot)),
        ("/a/../../b", Err(Refused::AboveRoot)),
        ("/%2e%2e/etc/passwd", Err(Refused::AboveRoot)),
        ("/a%2Fb", Err(Refused::NoFileName)),
        ("/..%2fetc", Err(Refused::NoFileName)),
        ("/a%00.html", Err(Refused::NoFileName)),
        ("/%", Err(Refused::Malformed)),
        ("/a%4", Err(Refused::Malformed)),
        ("/%+1", Err(Refused::Malformed)),
    ];
    for (target, path) in table {
        assert_eq!(
            resolved(target.as_bytes()),
            path.map(|path| path.as_bytes().to_vec()),
            "{target}"
        );
    }
    assert_eq!(resolved(b"/a#b"), Err(Refused::Malformed));
    assert_eq!(resolved(b"/%g0"), Err(Refused::Malformed));
    assert_eq!(resolved(b"/%0g"), Err(Refused::Malformed));
}

/// The same rules written for reading only: cut off the query, split, decode, walk.
fn model(target: &[u8]) -> Result<Vec<u8>, Refused> {
    let text: String = target.iter().map(|&byte| char::from(byte)).collect();
    let before_query = text.split('?').next().unwrap().to_string();
    if before_query.contains('#') {
        return Err(Refused::Malformed);
    }
    let mut stack: Vec<String> = Vec::new();
    let mut last = String::new();
    for segment in before_query.split('/').skip(1) {
        last = model_decode(segment)?;
        match last.as_str() {
            "" | "." => {}
            ".." => drop(stack.pop().ok_or(Refused::AboveRoot)?),
            name => stack.push(name.to_string()),
        }
    }
    let mut path: String = stack.iter().map(|segment| format!("/{segment}")).collect();
    if ["", ".", ".."].contains(&last.as_str()) {
        path.push('/');
    }
    Ok(path.chars().map(|c| c as u8).collect())
}

fn model_decode(segment: &str) -> Result<String, Refused> {
    let mut parts = segment.split('%');
    let mut decoded = parts.next().unwrap().to_string();
    for part in parts {
        let chars: Vec<char> = part.chars().collect();
        if chars.len() < 2 || !chars[..2].iter().all(char::is_ascii_hexdigit) {
            return Err(Refused::Malformed);
        }
        let code = u8::from_str_radix(&chars[..2].iter().collect::<String>(), 16).unwrap();
        if code == 0 || code == b'/' {
            return Err(Refused::NoFileName);
        }
        decoded.push(char::from(code));
        decoded.extend(&chars[2..]);
    }
    Ok(decoded)
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just("/".to_string()),
        Just("..".to_string()),
        Just(".".to_string()),
        Just("%2e".to_string()),
        Just("%2F".to_string()),
        Just("%".to_string()),
        Just("?".to_string()),
        Just("#".to_string()),
        "[a-c]{1,2}",
        "%[0-9a-fA-F]{2}",
    ];
    proptest::collection::vec(part, 0..12)
        .prop_map(|parts| format!("/{}", parts.concat()).into_bytes())
}

proptest! {
    #[test]
    fn agrees_with_the_model(target in target()) {
        prop_assert_eq!(resolved(&target), model(&target));
    }

    #[test]
    fn agrees_with_the_model_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let target = [b"/".as_slice(), &bytes].concat();
        prop_assert_eq!(resolved(&target), model(&target));
    }

    #[test]
    fn never_leaves_the_root(target in target()) {
        if let Ok(path) = resolved(&target) {
            prop_assert_eq!(path.first(), Some(&b'/'));
            prop_assert!(!path.contains(&0));
            prop_assert!(path.split(|&byte| byte == b'/').all(|segment| segment != b"." && segment != b".."));
        }
    }
}
