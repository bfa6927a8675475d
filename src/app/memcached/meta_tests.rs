//! The meta commands.

use super::*;

#[test]
fn meta_get() {
    check(&[
        ("mg a v\nmg a v k O1 q\nmg a v k O1\nmn\n", "EN\nEN ka O1\nMN\n"),
        (
            "set a 5 0 3\nabc\nmg a\nmg a v\nmg a s v t f c\n",
            "STORED\nHD\nVA 3\nabc\nVA 3 s3 t-1 f5 c1\nabc\n",
        ),
        ("set a 0 0 1\nx\nmg a k O123 q v\nmn\n", "STORED\nVA 1 ka O123\nx\nMN\n"),
        ("set a 0 0 1\nx\nmg a h l\nmg a h u\nmg a h\n", "STORED\nHD h0 l0\nHD h1\nHD h1\n"),
        ("set a 0 0 1\nx\nmg a v C1\nmg a v C2\n", "STORED\nHD\nVA 1\nx\n"),
        (
            "set a 0 0 1\nx\nmg a t T30 v\nmg a T60 t\nmg a t\n",
            "STORED\nVA 1 t-1\nx\nHD t60\nHD t60\n",
        ),
        (
            "mg a v N30 t\nmg a v N30 t\nms a 1\nx\nmg a v t\n",
            "VA 0 t30 W\n\nVA 0 t30 Z\n\nHD\nVA 1 t-1\nx\n",
        ),
        ("set a 0 20 1\nx\nmg a R10\nmg a R30\nmg a R30\n", "STORED\nHD\nHD W\nHD Z\n"),
        (
            "mg a v v\nmg a S\nmg a !\nmg\n",
            "CLIENT_ERROR duplicate flag\nCLIENT_ERROR invalid flag\nCLIENT_ERROR bad command line format\nCLIENT_ERROR bad command line format\n",
        ),
        ("mg a O12345678901234567890123456789012\n", "CLIENT_ERROR opaque token too long\n"),
        ("ms Zm9v b 1\n", "CLIENT_ERROR bad command line format\n"),
        (
            "ms Zm9v 1 b\nx\nmg foo k v\nmg Zm9v b k\nget foo\n",
            "HD\nVA 1 kZm9v b\nx\nHD kZm9v b\nVALUE foo 0 1\nx\nEND\n",
        ),
        ("mg !!! b\n", "CLIENT_ERROR error decoding key\n"),
    ]);
}

#[test]
fn meta_set() {
    check(&[
        ("ms a 1\nx\nmg a v\n", "HD\nVA 1\nx\n"),
        ("ms a 1 F7 T60 O9 k c s\nx\nmg a f t\n", "HD O9 ka c1 s1\nHD f7 t60\n"),
        ("ms a 1 q\nx\nms a 1 q ME\ny\nmn\n", "NS\nMN\n"),
        ("ms a 1 ME c\nx\nms a 1 ME c\ny\nms a 1 MR\nz\nms b 1 MR\nz\n", "HD c1\nNS c0\nHD\nNS\n"),
        (
            "ms a 1 MA\nx\nms a 1 MA N10\nx\nms a 2 MA s\nyz\nms a 1 MP s\nw\nmg a v t\n",
            "NS\nHD\nHD s3\nHD s4\nVA 4 t10\nwxyz\n",
        ),
        ("ms a 1\nx\nms a 1 C5\ny\nms a 1 C1\ny\nms b 1 C1\nx\n", "HD\nEX\nHD\nNF\n"),
        ("ms a 1 E100\nx\nmg a c\nms a 1 C100 E200 c\ny\n", "HD\nHD c100\nHD c200\n"),
        (
            "ms a 1 T30\nx\nms a 1\ny\nms a 1 C1 I T60\nz\nmg a v t\nmg a v\n",
            "HD\nHD\nHD\nVA 1 t-1 X W\nz\nVA 1 Z X\nz\n",
        ),
        (
            "ms a 1 M\nx\nms a 1 MX\nx\n",
            "CLIENT_ERROR invalid mode for ms M token\nCLIENT_ERROR invalid mode for ms M token\n",
        ),
        ("ms a S3\nabc\n", "CLIENT_ERROR bad command line format\nERROR\n"),
        (
            "ms a 3 T\nabc\nms a 3 F\nabc\n",
            "CLIENT_ERROR bad token in command line format\nCLIENT_ERROR bad command line format\n",
        ),
        (
            "ms a 3 q\nabcdef\n",
            "CLIENT_ERROR bad data chunk\nCLIENT_ERROR bad command line format\n",
        ),
        (
            "ms a 1 O12345678901234567890123456789012\nx\nmn\n",
            "CLIENT_ERROR opaque token too long\nMN\n",
        ),
        // What an `ms` that is refused says of a cas unique is not for what comes next, though
        // memcached takes it so.
        (
            "ms a 1 E77 O12345678901234567890123456789012\nx\nset a 0 0 1\ny\nmg a c\nmd a E77 C77\n",
            "CLIENT_ERROR opaque token too long\nSTORED\nHD c1\nEX\n",
        ),
        (
            "ms a 3 E77\nabcde\nset a 0 0 1\ny\ngets a\ncas a 0 0 1 77\nz\n",
            "CLIENT_ERROR bad data chunk\nCLIENT_ERROR bad command line format\nSTORED\nVALUE a 0 1 1\ny\nEND\nEXISTS\n",
        ),
    ]);
}

#[test]
fn meta_delete() {
    check(&[
        ("md a\nms a 1\nx\nmd a O1 k\nmd a q\nmn\n", "NF\nHD\nHD O1 ka\nNF\nMN\n"),
        ("ms a 1\nx\nmd a C5\nmd a C1 q\nmg a\n", "HD\nEX\nEN\n"),
        (
            "ms a 1 T90\nx\nmd a I T30\nmg a c t\nmg a v\nmg a\n",
            "HD\nHD\nHD c2 t30 X W\nVA 1 Z X\nx\nHD Z X\n",
        ),
        ("ms a 1 F5\nx\nmd a x\nmg a v f t c s\n", "HD\nHD\nVA 0 f0 t-1 c1 s0\n\n"),
        ("ms a 1 F5\nx\nmd a x I F3 T10 E77\nmg a v f t c\n", "HD\nHD\nVA 0 f3 t10 c77 X W\n\n"),
    ]);
}

#[test]
fn meta_arithmetic() {
    check(&[
        ("ma a\nma a q\nma a k O1\n", "NF\nNF\nNF ka O1\n"),
        (
            "ms a 1\n5\nma a v\nma a v D10\nma a v MD D3\nma a v M- D100\nma a M+\n",
            "HD\nVA 1\n6\nVA 2\n16\nVA 2\n13\nVA 1\n0\nHD\n",
        ),
        (
            "ma a N0 J13 v\nma a N0 J13 v\nma a N90 v t\nma b N90 J1 t\n",
            "VA 2\n13\nVA 2\n14\nVA 2 t-1\n15\nHD t90\n",
        ),
        ("ms a 1\n5\nma a C9\nma a C1 c\nma a E100 c v\n", "HD\nEX\nHD c2\nVA 1 c100\n7\n"),
        // Memcached tells this cas unique and this time, too, but gives them to a number only if it
        // does not grow.
        ("ms a 2\n99\nma a T30 t v\nmg a t\n", "HD\nVA 3 t30\n100\nHD t30\n"),
        ("ms a 2\n99\nma a E100 c v\nmg a c\nmd a C100\n", "HD\nVA 3 c100\n100\nHD c100\nHD\n"),
        ("ms a 1\n5\nma a t T30 v\nma a t\nma a q v\nmn\n", "HD\nVA 1 t-1\n6\nHD t30\nMN\n"),
        ("ms a 1\nx\nma a\n", "HD\nCLIENT_ERROR cannot increment or decrement non-numeric value\n"),
        (
            "ma a Mx\nma a Dx\nma a v v\n",
            "CLIENT_ERROR invalid mode for ma M token\nCLIENT_ERROR invalid or duplicate flag\nCLIENT_ERROR invalid or duplicate flag\n",
        ),
    ]);
}

#[test]
fn meta_debug_tells_what_is_known() {
    let (answer, _) = ask(b"me a\r\nset a 0 60 3\r\nabc\r\nme a\r\nget a\r\nme a\r\n");
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines[0], "EN");
    assert!(lines[2].starts_with("ME a exp=60 la=0 cas=1 fetch=no cls=1 size="), "{answer}");
    assert!(lines[6].starts_with("ME a exp=60 la=0 cas=1 fetch=yes cls=1 size="), "{answer}");
}
