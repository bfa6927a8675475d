use super::*;
use crate::metrics::Metric;
use simoom_io::{Application, Opened, Reply};

/// Serves nothing.
struct Silent;

impl Application for Silent {
    type Blob = Blob;
    type Conn = ();

    fn opened(&mut self, (): &mut (), _: Opened, _: &mut Reply<'_, Blob>) {}

    fn received(&mut self, (): &mut (), bytes: &[u8], _: &mut Reply<'_, Blob>) -> usize {
        bytes.len()
    }

    fn overfull(&mut self, (): &mut (), _: &[u8], _: &mut Reply<'_, Blob>) {}

    fn timeout(&mut self, (): &mut (), _: &mut Reply<'_, Blob>) {}
}

impl Handler for Silent {}

fn silent(name: &str, at: impl IntoEndpoints) -> Builder<impl Factories> {
    Server::builder().signals(Signals::Ignore).handler(name, at, |_| Ok(Silent))
}

fn refused<L: Factories>(builder: Builder<L>) -> String {
    builder.start().err().expect("refused").to_string()
}

#[test]
fn what_cannot_be_is_refused_with_option_value_and_remedy() {
    let minute = Duration::from_secs(60);
    let beside = || silent("echo", 7007).handler("other", 7008, |_| Ok(Silent));
    for (got, expected) in [
        (refused(Server::builder()), "handler: none is given; add one"),
        (refused(silent("Echo", 7)), "handler \"Echo\": a name has 1 to 32 of a-z, 0-9 and _"),
        (refused(silent("admin", 7)), "handler admin: the admin endpoint has this name"),
        (
            refused(silent("echo", 7).handler("echo", 8, |_| Ok(Silent))),
            "handler echo: added twice; give each handler a name of its own",
        ),
        (
            refused(silent("echo", "localhost:7")),
            "handler echo: neither a port nor ADDR:PORT; write 8080, 192.0.2.1:8080 or [2001:db8::1]:8080",
        ),
        (refused(silent("echo", [0u16; 0])), "handler echo: no endpoint is given; give a port"),
        (
            refused(silent("echo", 7007).handler("other", 7007, |_| Ok(Silent))),
            "handler other 127.0.0.1:7007: echo is served on port 7007 already; choose another port",
        ),
        (
            refused(silent("echo", "224.0.0.1:7")),
            "handler echo 224.0.0.1:7: 224.0.0.1 is not the address of one host on a network; give an address that \
             this host has, or the port alone",
        ),
        (refused(beside().connections(1 << 25)), "connections 33554432: from 1 to 16777216"),
        (
            refused(beside().connections(9).handler_connections("echo", 10)),
            "handler_connections echo 10: at most 9, as many as connections",
        ),
        (
            refused(beside().handler_connections("eco", 10)),
            "handler_connections eco: no handler of this name was added before",
        ),
        (refused(beside().memory_limit(7)), "memory_limit 7: at least 1048576"),
        (refused(beside().drain_timeout(minute * 1441)), "drain_timeout 86460s: at most 24h"),
        (refused(beside().send_timeout(Duration::ZERO)), "send_timeout 0ns: at least 1ms"),
        (
            refused(beside().xdp_mode(XdpMode::Copy)),
            "xdp_mode copy: cannot be used without interface; name the network interface",
        ),
        (
            refused(beside().interface("a/b")),
            "interface a/b: not an interface name; `ip -br link` lists them",
        ),
        (
            refused(beside().admin("127.0.0.1:7007".parse().unwrap())),
            "admin 127.0.0.1:7007: echo is served on port 7007 already; choose another port",
        ),
        (refused(beside().cores([])), "cores: none is given; name at least one"),
        (
            refused(beside().address("198.18.0.1".parse::<IpAddr>().unwrap())),
            "address 198.18.0.1: cannot be used without interface; name the network interface, or write handler \
             echo 198.18.0.1:7007 handler other 198.18.0.1:7008 to listen there through kernel sockets",
        ),
    ] {
        assert_eq!(got, expected);
    }
    let error = refused(beside().cores([100_000]));
    assert!(
        error.starts_with("cores 100000: core 100000 cannot be used; this process may use"),
        "{error}"
    );
}

#[test]
fn a_plan_beyond_the_memory_limit_is_refused_with_what_would_fit() {
    let error = refused(silent("echo", 0).memory("cache", 1 << 30).memory_limit(1 << 24));
    assert!(error.starts_with("memory_limit 16.0 MiB: 16384 connections need "), "{error}");
    assert!(error.contains("or give memory_limit ") && error.contains("cache"), "{error}");
}

#[test]
fn a_factory_that_fails_ends_the_start_with_its_reason() {
    let no: fn(WorkerInfo) -> Result<Silent> = |_| Err(Error::failed("no such database"));
    let builder = Server::builder().signals(Signals::Ignore).handler("echo", 0, no);
    assert_eq!(refused(builder), "no such database");
}

static HITS: Metric = Metric::new("cache_hits", "Hits.");
static ITEMS: Metric = Metric::new("cache_items", "Items.").gauge();

#[test]
fn what_is_called_at_the_turning_points_is_called_and_counted() {
    let snapshot = Snapshot::new("cache");
    snapshot.publish([(&HITS, 7), (&ITEMS, 8)].into_iter());
    let (told, listened) = std::sync::mpsc::channel();
    let server = silent("echo", [0u16, 0])
        .transport(Transport::Epoll)
        .metrics(snapshot)
        .admin("127.0.0.1:0".parse().unwrap())
        .on_listen(move |listening| {
            told.send((listening.service, listening.address)).unwrap();
            Ok(())
        })
        .handler_connections("echo", 5)
        .start()
        .unwrap();
    let addresses = server.addresses().to_vec();
    assert_eq!(listened.iter().map(|(_, at)| at).collect::<Vec<_>>(), addresses);
    assert!(server.listeners().all().iter().any(|place| place.service == "echo"));
    assert!(server.transport().starts_with("kernel sockets over epoll"));
    let exposed = metrics(server.admin().unwrap());
    for sample in [
        "\nsimoom_cache_hits_total{worker=\"cache\"} 7\n",
        "\nsimoom_cache_items{worker=\"cache\"} 8\n",
        "\n# HELP simoom_cache_hits_total Hits.\n# TYPE simoom_cache_hits_total counter\n",
        "\n# TYPE simoom_cache_items gauge\n",
        "\n# HELP simoom_echo_connections_limit Upper bound of the open connections of the service echo.\n",
        "\n# TYPE simoom_echo_connections_limit gauge\n",
        "\nsimoom_listening{service=\"echo\",protocol=\"tcp\",address=\"127.0.0.1:",
    ] {
        assert!(exposed.contains(sample), "{sample} is not in {exposed}");
    }
    let totals = server.stop().unwrap();
    let value =
        |name: &str| totals.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    assert_eq!(value("cache_hits"), Some(7));
    let workers = crate::config::usable_cores().unwrap().len() as u64;
    let each = 5u64.div_ceil(workers);
    assert_eq!(value("echo_connections_limit"), Some(2 * workers * each), "{totals:?}");
}

/// What the admin endpoint tells of the server's metrics.
fn metrics(admin: SocketAddr) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(admin).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_stopper_ends_the_wait_and_an_error_of_maintenance_ends_the_server() {
    let mut server = silent("echo", 0).start().unwrap();
    server.stopper().stop();
    assert_eq!(server.wait(), Ok("stop"));
    server.stop().unwrap();
    let failing = std::sync::atomic::AtomicBool::new(false);
    let maintain =
        move |_: &Registry| match failing.swap(true, std::sync::atomic::Ordering::Relaxed) {
            false => Ok(()),
            true => Err(Error::failed("the cache is broken")),
        };
    let server = silent("echo", 0).every_second(maintain).start().unwrap();
    assert_eq!(server.run().unwrap_err().to_string(), "the cache is broken");
}

#[test]
fn a_name_of_two_declarations_is_refused_at_start() {
    static OTHER: Metric = Metric::new("http_requests", "Requests of another kind.");
    let snapshot = Snapshot::new("other");
    snapshot.publish([(&OTHER, 7)].into_iter());
    let error = refused(silent("echo", 0).transport(Transport::Epoll).metrics(snapshot));
    assert!(error.starts_with("metric http_requests: declared twice, as counter "), "{error}");
    assert!(error.ends_with("give each metric a name of its own"), "{error}");
}
