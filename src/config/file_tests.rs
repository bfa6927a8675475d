use super::*;
use crate::config::sites::Sites;
use crate::config::{Cores, Endpoint, LogFormat, Transport};
use std::time::Duration;

fn refused(text: &str) -> String {
    match parse(text, "simoom.toml").unwrap_err() {
        Error::Usage(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_of_value() {
    let options = parse(
        r#"
# comments are allowed
http = 8080
interface = "s0"
address = ["198.18.0.1", "2001:db8::1"]
cores = [0, 2]
connections = 0x4000
memory-limit = "512M"
busy-poll = false
transport = "epoll"
log = "json"
idle-timeout = 2.5
drain-timeout = "0"
"#,
        "simoom.toml",
    )
    .unwrap();
    assert_eq!(options.http, Some(Endpoint { address: None, port: 8080 }));
    assert_eq!(options.interface.as_deref(), Some("s0"));
    assert_eq!(options.address.unwrap().len(), 2);
    assert_eq!(options.cores, Some(Cores(vec![0, 2])));
    assert_eq!(options.connections, Some(0x4000));
    assert_eq!(options.memory_limit, Some(512 << 20));
    assert_eq!(options.busy_poll, Some(false));
    assert_eq!(options.transport, Some(Transport::Epoll));
    assert_eq!(options.log.log_format, Some(LogFormat::Json));
    assert_eq!(options.idle_timeout, Some(Duration::from_millis(2500)));
    assert_eq!(options.drain_timeout, Some(Duration::ZERO));
    assert_eq!(options.root, None);
}

#[test]
fn a_single_value_where_several_may_stand() {
    assert_eq!(parse("address = \"198.18.0.1\"", "f").unwrap().address.unwrap().len(), 1);
    assert_eq!(parse("cores = \"0-3\"", "f").unwrap().cores, Some(Cores(vec![0, 1, 2, 3])));
    assert_eq!(parse("cores = 1", "f").unwrap().cores, Some(Cores(vec![1])));
    assert_eq!(parse("", "f").unwrap().address, None);
}

#[test]
fn errors_name_file_line_key_value_and_bound() {
    for (text, expected) in [
        (
            "http = 80\n\nconnections = 5000000000\n",
            "simoom.toml:3: connections = 5000000000: at most 16777216",
        ),
        ("conections = 5", "simoom.toml:1: conections: unknown key"),
        ("conections = 5", "did you mean connections?"),
        ("\nConnections = 5", "simoom.toml:2: Connections: unknown key"),
        (
            "config = \"other.toml\"",
            "simoom.toml:1: config: a configuration file cannot name another",
        ),
        ("help = true", "simoom.toml:1: help: unknown key"),
        ("[serve]\nhttp = 80", "simoom.toml:1: serve: unknown table; Keys of the server stand"),
        (
            "[server]\nhttp = 80",
            "the tables are types, error-pages, header, redirect, rewrite, auth and host",
        ),
        (
            "http = 80\n[[hosts]]\nnames = []",
            "simoom.toml:2: hosts: unknown table; did you mean host? ",
        ),
        ("[[vhost]]\nnames = []", "vhost: unknown table; did you mean host? "),
        ("[error-page]\n404 = 1", "error-page: unknown table; did you mean error-pages? "),
        ("[tls]\ncert = 1", "simoom.toml:1: tls: unknown table; Simoom has no TLS"),
        ("tls = true", "simoom.toml:1: tls: unknown key; Simoom has no TLS"),
        ("ssl_certificate = 'a'", "ssl_certificate: unknown key; Simoom has no TLS"),
        ("listen = 80", "simoom.toml:1: listen: unknown key; did you mean http?"),
        (
            "http = 80\nroot = /srv # files",
            "simoom.toml:2: root = /srv: a text stands in quotes; write root = \"/srv\"",
        ),
        (
            "memory-limit = 2G",
            "memory-limit = 2G: a text stands in quotes; write memory-limit = \"2G\"",
        ),
        ("\nwatch = no\n", "simoom.toml:2: watch = no: write true or false, without quotes"),
        ("\n[http]\nport = 80", "simoom.toml:2: http: table is not a value of this key"),
        ("http = 80\nhttp = 81", "simoom.toml:2: duplicate key"),
        ("http = 80\ncores 5", "simoom.toml:2: "),
        ("http = 1979-05-27", "datetime is not a value of this key"),
        ("http = 99999", "http = 99999: a port is from 0 to 65535"),
        ("http = -1", "http = -1: neither a port"),
        ("http = true", "http = true: neither a port"),
        ("http = ''", "http = : neither a port"),
        ("connections = 1.5", "connections = 1.5: not a number"),
        ("connections = 99999999999999999999999999999999999999999999", "the number is too large"),
        ("busy-poll = \"yes\"", "busy-poll = yes: expected one of true, false"),
        ("busy-poll = 1", "busy-poll = 1: expected one of true, false"),
        ("transport = \"dpdk\"", "transport = dpdk: expected one of auto, xdp, io-uring, epoll"),
        ("address = [\"198.18.0.1\", \"here\"]", "address = here: not an IP address"),
        ("address = [[\"198.18.0.1\"]]", "address: array is not a value of this key"),
        ("address = [\n\"198.18.0.1\",\n5]", "simoom.toml:1: address = 5: not an IP address"),
        ("http = 80\nroot = ['/a', '/b']", "simoom.toml:2: root: one value, not a list"),
        ("root = ['/a']", "root: one value, not a list"),
        ("connections = [1, 2]", "connections: one value, not a list"),
        ("busy-poll = []", "busy-poll: one value, not a list"),
        ("cores = [[0]]", "cores: array is not a value of this key"),
        ("memory-limit = 5", "memory-limit = 5: at least 1M"),
        ("header-timeout = 0", "header-timeout = 0: at least 1ms"),
        ("header-timeout = inf", "header-timeout = inf: not a time"),
        ("é = 5", "simoom.toml:1: "),
    ] {
        let got = refused(text);
        assert!(got.contains(expected), "{text:?}\n  said {got:?}\n  not  {expected:?}");
    }
}

#[test]
fn the_first_error_in_the_file_is_reported() {
    assert!(refused("transport = 1\naddress = 1").starts_with("simoom.toml:1: transport"));
}

#[test]
fn sites_have_rules_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let text = format!(
        r#"
root = "/"
try-files = ["$0.html"]
fallback = "/index.html"

[types]
ts = "text/plain"

[error-pages]
404 = "/404.html"

[[header]]
path = "*"
fields = {{ Cache-Control = "no-cache", X-Frame-Options = "DENY" }}

[[redirect]]
from = "/old/*"
to = "/new/$1"

[[redirect]]
from = "/b"
to = "https://b.example/"
status = 308

[[rewrite]]
from = "/v1/*"
to = "/v2/$1"

[[host]]
names = ["B.example", "*.b.example", "192.0.2.1"]
root = {:?}
autoindex = true
fallback = "/index.html"
try-files = ["$0/index.html"]
[[host.header]]
path = "/*"
fields = {{ X = "y" }}
"#,
        root.path()
    );
    let options = parse(&text, "simoom.toml").unwrap();
    let Sites { site, hosts } = &options.sites;
    assert_eq!(site.headers.len(), 2);
    assert_eq!(site.redirects.iter().map(|rule| rule.status).collect::<Vec<_>>(), [301, 308]);
    assert_eq!((site.rewrites.len(), &site.error_pages[..]), (1, &[(404, "/404.html".into())][..]));
    assert_eq!(hosts[0].names, ["b.example", "*.b.example", "192.0.2.1"]);
    assert!(hosts[0].autoindex && !hosts[0].dotfiles && hosts[0].headers.len() == 1);
    assert_eq!(hosts[0].root.as_deref(), Some(root.path()));
    let tried = |text| crate::app::content::Template::path(text, 0).unwrap();
    assert_eq!(hosts[0].try_files, [tried("$0/index.html"), tried("/index.html")]);
    let site = crate::config::Serve::resolve(options, &[0]).unwrap().content.site;
    assert_eq!(site.try_files, [tried("$0.html"), tried("/index.html")]);
}

#[test]
fn errors_in_sites_name_line_value_and_bound() {
    let table = [
        ("[[header]]\npath = \"x\"\nfields = {}", "simoom.toml:2: header: path pattern \"x\""),
        ("[[header]]\npath = \"*\"", "simoom.toml:1: header: without fields"),
        (
            "[[header]]\npath = \"*\"\nfields = { ETag = \"a\" }",
            "simoom.toml:3: header: field ETag: the server sets it itself",
        ),
        (
            "[[header]]\npat = \"*\"",
            "simoom.toml:2: header: pat: unknown key; expected path, fields",
        ),
        ("[[redirect]]\nfrom = \"/a\"\nto = \"/$1\"", "simoom.toml:3: redirect: location"),
        (
            "[[redirect]]\nfrom = \"/a\"\nto = \"/b\"\nstatus = 200",
            "simoom.toml:4: redirect: status 200: one of 301, 302, 303, 307, 308",
        ),
        ("[error-pages]\n500 = \"/a\"", "simoom.toml:2: error-pages: status 500: one of 404, "),
        ("[types]\nts = \"a\"", "simoom.toml:2: types: media type \"a\""),
        ("try-files = [\"/a\",\n\"b\"]", "simoom.toml:2: try-files: path \"b\": begin with /"),
        (
            "[[auth]]\npath = \"*\"\nusers = \"/none\"",
            "simoom.toml:3: auth: users /none: No such file",
        ),
        ("[[auth]]\npath = \"*\"", "simoom.toml:1: auth: without users"),
        ("try-files = 1", "simoom.toml:1: try-files: a list is expected, not integer"),
        ("[[host]]\nroot = \"/\"", "simoom.toml:1: host: without a name"),
        ("[[host]]\nnames = [\"a:80\"]", "simoom.toml:2: host name \"a:80\""),
        ("[[host]]\nname = \"a\"", "simoom.toml:2: name: unknown key; a host has auto"),
        (
            "[[host]]\nnames = [\"a\"]\n[[host]]\nnames = [\"A\"]",
            "simoom.toml:3: host a: named by two hosts",
        ),
        (
            "[[host]]\nnames = [\"a\"]\nroot = \"/none\"",
            "simoom.toml:3: root /none: no such directory; name the one that holds the files",
        ),
        (
            "[[host]]\nnames = \"a.b\"",
            "simoom.toml:2: names: a list is expected, not string; write names = [\"a.b\"]",
        ),
        ("[host]\nnames = [\"a\"]", "simoom.toml:1: host: a list; write [[host]]"),
        (
            "[[host]]\nnames = [\"a\"]\nautoindex = true",
            "simoom.toml:3: autoindex: the host has no files; add root",
        ),
        (
            "[[host]]\nnames = [\"a\"]\nautoindex = \"no\"",
            "simoom.toml:3: autoindex: true or false, without quotes, is expected",
        ),
        (
            "[[host]]\nnames = [\"a\"]\nhttp = 80",
            "simoom.toml:3: http: a key of the server; write it above the first table",
        ),
        ("[[redirect]]\nfrom = \"/a\"\ncores = 1", "simoom.toml:3: cores: a key of the server"),
        ("[types]\nts = \"text/plain\"\nadmin = 9090", "simoom.toml:3: admin: a key of the server"),
        ("[error-pages]\nhttp = 80", "simoom.toml:2: http: a key of the server"),
        (
            "[[header]]\npath = \"*\"\nX-A = \"b\"",
            "simoom.toml:3: header: X-A: unknown key; expected path, fields; to set a field, add fields = { X-A = ",
        ),
    ];
    for (text, expected) in table {
        let error = refused(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
    let many = "[[rewrite]]\nfrom = \"/a\"\nto = \"/b\"\n".repeat(257);
    assert!(refused(&many).contains("rewrite: 257 of them, at most 256"));
}
