//! Two instances behind a proxy, as people scale memcached out: Debian's `nutcracker` (twemproxy)
//! with ketama hashing puts each key on one of them. One is stopped and comes back. Needs root and
//! nutcracker; the clients that hash keys themselves, python3 with pylibmc and pymemcache.

#![allow(clippy::print_stdout, reason = "a skip must be seen in the test's output")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../common/mod.rs"]
mod common;

use common::TEST_TIMEOUT;
use common::{PYTHON, Process, need_program, need_root, simoom, skip, wait_until};
use simoom::netns::{self, Namespace};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

const CONFIGURATION: &str = include_str!("nutcracker.yml");
/// The page of the guide that shows the configurations tested here.
const PAGE: &str = include_str!("../../src/guide/memcached.md");
const PROXY: &str = "127.0.0.1:22121";
const PORT: u16 = 11211;
const ADMIN: &str = "127.0.0.1:9090";
const KEYS: usize = 100_000;
/// Requests that are sent before their answers are read.
const AT_ONCE: usize = 1000;

/// An instance over AF_XDP in a namespace of its own, joined to the proxy's.
struct Instance {
    namespace: Namespace,
    address: SocketAddr,
    process: Option<Process>,
}

impl Instance {
    fn new(proxy: &Namespace, number: u8) -> Instance {
        let namespace = Namespace::new().unwrap();
        let peer = format!("p{number}");
        netns::veth(&namespace, "s0", proxy, &peer, 1).unwrap();
        let address = |host| IpAddr::from(Ipv4Addr::new(198, 18, 100 + number, host));
        for (end, name, host) in [(&namespace, "s0", 1), (proxy, &peer, 2)] {
            end.run(|| {
                netns::set_address(name, address(host), 24).and_then(|()| netns::set_up(name))
            })
            .unwrap();
        }
        Instance { namespace, address: SocketAddr::new(address(1), PORT), process: None }
    }

    /// Starts it and waits until it has claimed its traffic, which it has once its metrics can be
    /// read.
    fn start(&mut self) {
        let mut command = simoom();
        command.args(
            "serve --interface s0 --transport xdp --memcached 11211 --cores 0 --admin".split(' '),
        );
        command.arg(ADMIN).stderr(Stdio::null());
        self.process = Some(self.namespace.run(|| Process::start(&mut command)));
        wait_until("the instance serves", TEST_TIMEOUT, || self.namespace.run(is_ready));
    }

    fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal(rustix::process::Signal::TERM);
        assert!(process.wait(TEST_TIMEOUT).success());
    }

    /// Forgets everything, at once.
    fn flush(&self, proxy: &Namespace) {
        let mut client = Client::connect(proxy, self.address);
        client.send(b"flush_all\r\n");
        assert_eq!(client.line(), "OK");
        wait_until("all is forgotten", TEST_TIMEOUT, || self.stat(proxy, "curr_items") == 0);
    }

    /// One of its `stats`, asked for without the proxy.
    fn stat(&self, proxy: &Namespace, name: &str) -> u64 {
        let mut client = Client::connect(proxy, self.address);
        client.send(b"stats\r\n");
        let lines: Vec<String> =
            std::iter::from_fn(|| Some(client.line()).filter(|line| line != "END")).collect();
        let stat = lines
            .iter()
            .find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
        stat.and_then(|value| value.parse().ok()).expect("a number")
    }
}

/// A client of the proxy, or of an instance.
struct Client {
    stream: BufReader<TcpStream>,
    /// Requests that the proxy could not carry out: now and then it tries whether an instance is
    /// back.
    errors: usize,
}

impl Client {
    fn connect(namespace: &Namespace, address: SocketAddr) -> Client {
        let stream = namespace.run(|| TcpStream::connect(address)).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream), errors: 0 }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => panic!("closed"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer in time"),
            outcome => outcome.unwrap(),
        };
        line.trim_end().to_owned()
    }

    /// Sets keys until all are stored.
    fn set(&mut self, keys: &[usize]) {
        self.ask_until_done(
            keys,
            |n| format!("set key:{n} 0 0 8\r\n{n:08}\r\n"),
            |_, _, line| {
                assert_eq!(line, "STORED");
            },
        );
    }

    /// Gets keys; returns those that are missing. A value is the key's own.
    fn missing(&mut self, keys: &[usize]) -> Vec<usize> {
        let mut missing = Vec::new();
        self.ask_until_done(
            keys,
            |n| format!("get key:{n}\r\n"),
            |client, n, line| {
                if line == "END" {
                    return missing.push(n);
                }
                let answer = [line, client.line(), client.line()];
                assert_eq!(answer, [format!("VALUE key:{n} 0 8"), format!("{n:08}"), "END".into()]);
            },
        );
        missing.sort_unstable();
        missing
    }

    /// Sends a request for each key, many at once, one key each: nutcracker 0.5.0 does not survive
    /// a get of several when an instance is gone. What the proxy could not ask for is asked again;
    /// `check` is given the first line of each other answer.
    fn ask_until_done(
        &mut self,
        keys: &[usize],
        request: impl Fn(usize) -> String,
        mut check: impl FnMut(&mut Client, usize, String),
    ) {
        let mut left = keys.to_vec();
        while !left.is_empty() {
            let mut again = Vec::new();
            for keys in left.chunks(AT_ONCE) {
                self.send(keys.iter().map(|n| request(*n)).collect::<String>().as_bytes());
                for n in keys {
                    let line = self.line();
                    if line.starts_with("SERVER_ERROR") {
                        again.push(*n);
                    } else {
                        check(self, *n, line);
                    }
                }
            }
            self.errors += again.len();
            left = again;
        }
    }
}

/// Whether the instance in this namespace says that it is ready. Its admin port is open before.
fn is_ready() -> bool {
    let Ok(mut stream) = TcpStream::connect(ADMIN) else { return false };
    let mut answer = String::new();
    let asked = stream
        .write_all(b"GET /readyz HTTP/1.0\r\n\r\n")
        .and_then(|()| stream.read_to_string(&mut answer));
    asked.is_ok() && answer.split(' ').nth(1) == Some("200")
}

/// Two instances that serve, and the namespace of the proxy.
fn instances() -> (Namespace, [Instance; 2]) {
    let proxy = Namespace::new().unwrap();
    let mut instances = [0, 1].map(|number| Instance::new(&proxy, number));
    for instance in &mut instances {
        instance.start();
    }
    (proxy, instances)
}

#[test]
fn keys_spread_over_two_instances_and_one_may_go_and_come_back() {
    if !need_root() || !need_program("nutcracker") {
        return;
    }
    let (proxy, [mut first, second]) = instances();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nutcracker.yml");
    std::fs::write(&path, CONFIGURATION).unwrap();
    let mut command = Command::new("/usr/sbin/nutcracker");
    command.arg("-c").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _nutcracker = proxy.run(|| Process::start(&mut command));
    let at: SocketAddr = PROXY.parse().unwrap();
    wait_until("nutcracker listens", TEST_TIMEOUT, || proxy.run(|| TcpStream::connect(at)).is_ok());

    let all: Vec<usize> = (0..KEYS).collect();
    let mut client = Client::connect(&proxy, at);
    client.set(&all);
    assert!(client.missing(&all).is_empty());
    assert_eq!(client.errors, 0);
    let items = [&first, &second].map(|instance| instance.stat(&proxy, "curr_items") as usize);
    assert_eq!(items[0] + items[1], KEYS);
    assert!(items.iter().all(|items| *items > KEYS / 4), "{items:?}");

    first.stop();
    let on_first = *all.iter().find(|n| is_on(&proxy, &second, **n).is_none()).unwrap();
    assert_eq!(client.missing(&[on_first]), [on_first]);
    let missing = client.missing(&all);
    assert_eq!(missing.len(), items[0]);
    client.set(&missing);
    assert_eq!(second.stat(&proxy, "curr_items") as usize, KEYS);

    first.start();
    wait_until("the proxy asks it again", TEST_TIMEOUT, || {
        client.missing(&[on_first]) == [on_first]
    });
    client.errors = 0;
    // The very keys that it had, which it has forgotten.
    assert_eq!(client.missing(&all), missing);
    client.set(&missing);
    assert!(client.missing(&all).is_empty());
    assert_eq!((first.stat(&proxy, "curr_items") as usize, client.errors), (items[0], 0));
}

/// Something, if an instance has the key.
fn is_on(proxy: &Namespace, instance: &Instance, n: usize) -> Option<()> {
    Client::connect(proxy, instance.address).missing(&[n]).is_empty().then_some(())
}

#[test]
fn clients_that_hash_keys_themselves_find_them_again() {
    let modules = Command::new(PYTHON)
        .args(["-c", "import pylibmc, pymemcache"])
        .stderr(Stdio::null())
        .status();
    if !modules.is_ok_and(|status| status.success()) {
        return skip("needs python3 with pylibmc and pymemcache");
    }
    if !need_root() {
        return;
    }
    let (proxy, instances) = instances();
    let shown =
        PAGE.lines().find(|line| line.starts_with("pylibmc.Client(")).expect("the page shows one");
    let pymemcache =
        r#"HashClient([("198.18.100.1", 11211), ("198.18.101.1", 11211)], timeout=20)"#;
    for (client, import, set, get) in [
        (shown.trim(), "import pylibmc", "set_multi", "get_multi"),
        (pymemcache, "from pymemcache.client.hash import HashClient", "set_many", "get_many"),
    ] {
        let script = format!(
            "{import}\n\
             client = {client}\n\
             keys = {{'key:%d' % n: b'%d' % n for n in range(10_000)}}\n\
             assert client.{set}(keys) == []\n\
             assert client.{get}(list(keys)) == keys\n"
        );
        let run = || Command::new(PYTHON).args(["-c", &script]).stdin(Stdio::null()).output();
        let told = proxy.run(run).unwrap();
        assert!(told.status.success(), "{script}{}", String::from_utf8_lossy(&told.stderr));
        let items = instances.each_ref().map(|instance| instance.stat(&proxy, "curr_items"));
        assert!(
            items[0] + items[1] == 10_000 && items.iter().all(|items| *items > 2500),
            "{client}: {items:?}"
        );
        instances.iter().for_each(|instance| instance.flush(&proxy));
    }
}

#[test]
fn the_guide_shows_what_is_tested() {
    assert!(PAGE.contains(CONFIGURATION), "the page memcached shows another configuration");
}

/// mcrouter is not packaged for Debian, so no test runs it: what is shown for it is read at least,
/// and names the servers that the others name.
#[test]
fn the_guide_shows_mcrouter_a_pool_and_a_route_to_it() {
    let shown =
        PAGE.lines().find(|line| line.starts_with("{\"pools\"")).expect("the page shows one");
    let shown: serde_json::Value = serde_json::from_str(shown).unwrap();
    let pool = shown["route"].as_str().and_then(|route| route.strip_prefix("PoolRoute|")).unwrap();
    let servers = shown["pools"][pool]["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 2);
    for server in servers {
        let server = format!("- {}:1 ", server.as_str().unwrap());
        assert!(CONFIGURATION.contains(&server), "{server} is not in nutcracker.yml");
    }
}
