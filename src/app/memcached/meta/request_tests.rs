use super::*;

fn read(line: &str) -> Result<Flags, &'static str> {
    let mut meta = Meta::of(line.as_bytes(), 2).ok_or("no command")?;
    meta.read().map_err(|text| str::from_utf8(text).unwrap())?;
    Ok(meta.flags)
}

#[test]
fn each_flag_says_what_it_says() {
    let none = Flags::default();
    for (flags, expected) in [
        ("", none),
        (
            "v q u x I",
            Flags {
                value: true,
                quiet: true,
                no_update: true,
                remove_value: true,
                invalidate: true,
                ..none
            },
        ),
        ("N30 T-1 R0", Flags { vivify: Some(30), ttl: Some(-1), recache: Some(0), ..none }),
        (
            "F5 C7 E18446744073709551615",
            Flags { client_flags: 5, cas: Some(7), new_cas: Some(u64::MAX), ..none },
        ),
        ("J10 D2 M-", Flags { initial: 10, delta: 2, mode: Some(b'-'), ..none }),
        ("M", Flags { mode: Some(b' '), ..none }),
        ("Mappend", Flags { mode: Some(b'a'), ..none }),
        ("Oopaque P/path Lhint k s t c f l h", none),
        ("vworld", Flags { value: true, ..none }),
    ] {
        assert_eq!(read(&format!("mg a {flags}")), Ok(expected), "{flags}");
    }
}

#[test]
fn what_is_wrong_is_said_in_memcacheds_words() {
    for (flags, expected) in [
        ("v v", "CLIENT_ERROR duplicate flag"),
        ("v1 v2", "CLIENT_ERROR duplicate flag"),
        ("!", "no command"),
        ("v {", "no command"),
        ("S100", "CLIENT_ERROR invalid flag"),
        ("1", "CLIENT_ERROR invalid flag"),
        ("T", "CLIENT_ERROR bad token in command line format"),
        ("Tx", "CLIENT_ERROR bad token in command line format"),
        ("N R1", "CLIENT_ERROR bad token in command line format"),
        ("C-1", "CLIENT_ERROR bad token in command line format"),
        ("F", "CLIENT_ERROR bad command line format"),
        ("T F", "CLIENT_ERROR bad token in command line format"),
        ("F T", "CLIENT_ERROR bad token in command line format"),
        ("Jx", "CLIENT_ERROR invalid numeric initial value"),
        ("D", "CLIENT_ERROR invalid numeric delta value"),
        ("Jx D", "CLIENT_ERROR invalid numeric delta value"),
        ("Jx !", "no command"),
        ("Jx S", "CLIENT_ERROR invalid flag"),
        ("b", "CLIENT_ERROR error decoding key"),
        ("a b c d e f g h i j k l m n o p q r s", "CLIENT_ERROR options flags are too long"),
    ] {
        assert_eq!(read(&format!("mg a {flags}")), Err(expected), "{flags}");
    }
    assert_eq!(read("mg"), Err("no command"));
    assert_eq!(
        read(&format!("mg {}", "k".repeat(251))),
        Err("CLIENT_ERROR bad command line format")
    );
}

#[test]
fn keys_in_base64_are_decoded() {
    let mut meta = Meta::of(b"mg Zm9v k b", 2).unwrap();
    meta.read().unwrap();
    assert_eq!((meta.key(), meta.has_binary_key()), (&b"foo"[..], true));
    let mut plain = Meta::of(b"mg Zm9v k", 2).unwrap();
    plain.read().unwrap();
    assert_eq!((plain.key(), plain.has_binary_key()), (&b"Zm9v"[..], false));
    let order: Vec<&[u8]> = meta.in_order().collect();
    assert_eq!(order, [b"k", b"b"]);
}
