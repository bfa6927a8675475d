use super::*;

fn ok<T>(read: impl Fn(&str) -> Result<T, String>, text: &str) -> T {
    read(text).unwrap_or_else(|reason| panic!("{text:?}: {reason}"))
}

fn refused<T: std::fmt::Debug>(read: impl Fn(&str) -> Result<T, String>, cases: &[(&str, &str)]) {
    for (text, reason) in cases {
        let got = read(text).expect_err(text);
        assert!(got.contains(reason), "{text:?}: {got:?} does not say {reason:?}");
    }
}

#[test]
fn endpoints() {
    assert_eq!(ok(endpoint, "8080"), Endpoint { address: None, port: 8080 });
    assert_eq!(ok(endpoint, "127.0.0.1:80").address, Some([127, 0, 0, 1].into()));
    assert_eq!(ok(endpoint, "[2001:db8::1]:80").at([0; 4].into()).to_string(), "[2001:db8::1]:80");
    assert_eq!(ok(endpoint, "80").at([0; 4].into()).to_string(), "0.0.0.0:80");
    refused(
        endpoint,
        &[
            ("", "neither a port"),
            ("0.0.0.0:80000", "a port is from 0 to 65535"),
            ("[::1]:65536", "a port is from 0 to 65535"),
            ("65536", "from 0 to 65535"),
            ("99999999999999999999", "from 0 to 65535"),
            ("-1", "neither a port"),
            (":80", "neither a port"),
            ("localhost:80", "neither a port"),
            ("::1:80", "neither a port"),
            ("127.0.0.1:", "neither a port"),
            ("127.0.0.1", "neither a port"),
        ],
    );
}

#[test]
fn addresses() {
    assert_eq!(ok(address, "198.18.0.1").to_string(), "198.18.0.1");
    assert_eq!(ok(address, "2001:db8::1").to_string(), "2001:db8::1");
    refused(
        address,
        &[
            ("198.18.0.1/24", "not an IP address"),
            ("host", "not an IP address"),
            ("0.0.0.0", "one host"),
            ("::", "one host"),
            ("127.0.0.1", "one host"),
            ("224.0.0.1", "one host"),
            ("ff02::1", "one host"),
            ("255.255.255.255", "one host"),
        ],
    );
}

#[test]
fn interface_names() {
    assert_eq!(ok(interface, "enp3s0f1"), "enp3s0f1");
    refused(
        interface,
        &[
            ("", "1 to 15"),
            ("sixteen-bytes-xx", "1 to 15"),
            ("a/b", "not an"),
            ("a b", "not an"),
            ("..", "not an"),
        ],
    );
}

#[test]
fn core_lists() {
    for (text, want) in [
        ("0", &[0][..]),
        ("0-3", &[0, 1, 2, 3]),
        ("2,0", &[0, 2]),
        ("4-5, 0-1", &[0, 1, 4, 5]),
        ("1023", &[1023]),
    ] {
        assert_eq!(ok(cores, text).0, want, "{text}");
    }
    refused(
        cores,
        &[
            ("", "\"\" is not"),
            ("0,,1", "\"\" is not"),
            ("a", "\"a\" is not"),
            ("-1", "\"\" is not"),
            ("3-1", "write 1-3"),
            ("0-2,1", "core 1 is given twice"),
            ("1024", "up to 1023"),
            ("0-99999999999", "up to 1023"),
        ],
    );
}

#[test]
fn connection_counts() {
    assert_eq!(ok(connections, "1"), 1);
    assert_eq!(ok(connections, "16777216"), CONNECTIONS_MAX);
    refused(
        connections,
        &[
            ("0", "at least 1"),
            ("16777217", "at most 16777216"),
            ("5000000000", "at most 16777216"),
            ("-5", "from 1 to 16777216"),
            ("1e6", "not a number"),
        ],
    );
}

#[test]
fn sizes() {
    for (text, want) in [
        ("1048576", 1 << 20),
        ("1024k", 1 << 20),
        ("512M", 512 << 20),
        ("512MiB", 512 << 20),
        ("2G", 2 << 30),
        ("2gb", 2 << 30),
        ("1T", 1 << 40),
    ] {
        assert_eq!(ok(size, text), want, "{text}");
    }
    refused(
        size,
        &[
            ("", "not a size"),
            ("M", "not a size"),
            ("1.5G", "not a size"),
            ("-1M", "not a size"),
            ("5X", "not a size"),
            ("5µ", "not a size"),
            ("0", "at least 1M"),
            ("1023k", "at least 1M"),
            ("99999999999999999999", "at most"),
            ("99999999T", "at most"),
        ],
    );
}

#[test]
fn times() {
    for (text, want_ms) in [
        ("30", 30_000),
        ("2.5s", 2500),
        ("500ms", 500),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("24h", 86_400_000),
    ] {
        assert_eq!(ok(timeout, text).as_millis(), want_ms, "{text}");
    }
    assert_eq!(ok(duration, "0"), Duration::ZERO);
    refused(
        timeout,
        &[
            ("0", "at least 1ms"),
            ("0.1ms", "at least 1ms"),
            ("25h", "at most 24h"),
            ("999999999999999999999999", "at most 24h"),
            ("", "not a time"),
            ("-1", "not a time"),
            ("1.2.3", "not a time"),
            ("5d", "not a time"),
            ("s", "not a time"),
        ],
    );
}
