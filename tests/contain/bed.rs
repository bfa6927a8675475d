//! HTTP and memcached with a saboteur, over each transport, with as little memory as a worker can
//! have: what a panic leaked would be missed by the next requests.

use crate::common::{Network, need_root, wait_until};
use crate::saboteur::{Plot, Saboteur};
use af_xdp::{Mode, OpenOptions};
use crossbeam_channel::{Receiver, unbounded};
use simoom::app::HttpAndMemcached;
use simoom::app::contained::Contained;
use simoom::app::content::Content;
use simoom::app::http::{self, Http};
use simoom::app::memcached::{self, Memcached, datagram};
use simoom::app::testing::both;
use simoom::control::{Command, CommandReceiver, CommandSender, command_channel};
use simoom::kernel::udp::{Socket, Udp};
use simoom::kernel::{Listener, Poller, Settings, run};
use simoom::metrics::{Registry, Snapshot};
use simoom::steer::{Claim, Device};
use simoom::store::{self, Store};
use simoom::thread::{Failure, spawn};
use simoom::worker::{Parts, Worker, handover};
use simoom::{netns, panics};
use simoom_tcp::{Address, ChecksumPolicy, Config, Limits, LocalAddress};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Nothing that a test waits for takes longer than this, however busy the machine.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once, also values being received. Above what a test opens in all: a closed
/// connection lingers until its peer's FIN is read, and a full table resets newcomers.
const CONNECTIONS: usize = 256;
/// The ports, where they can be chosen.
const PORTS: [u16; 2] = [8080, 11211];

/// The services, a saboteur around them, and containment around that.
pub(crate) type App = Contained<Saboteur<HttpAndMemcached>>;

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Http,
    Memcached,
}

/// The transports of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Kernel(Poller),
    Xdp,
}

/// A running worker.
pub(crate) struct Bed {
    pub(crate) plot: Arc<Plot>,
    pub(crate) store: Arc<Store>,
    http: SocketAddr,
    memcached: SocketAddr,
    network: Option<Network>,
    registry: Registry,
    command_sender: CommandSender,
    thread: Option<JoinHandle<()>>,
    failures: Receiver<Failure>,
    /// Takes the program off when it goes.
    _device: Option<Device>,
}

/// A handler of memcached with a store of its own.
pub(crate) fn memcached() -> (Memcached, Arc<Store>) {
    let settings = store::Settings { memory_bytes: 8 << 20, ..store::Settings::default() };
    let store = Store::new(&settings).unwrap();
    let shared =
        memcached::Shared::new(store.clone(), memcached::Options::default(), 1_700_000_000);
    (Memcached::new(shared, 0, CONNECTIONS), store)
}

/// The application on these ports, and the store in it.
pub(crate) fn app(plot: &Arc<Plot>, [web, cache]: [u16; 2]) -> (App, Arc<Store>) {
    let (memcached, store) = memcached();
    let http = Http::new(Arc::new(Content::built_in()), http::Options::default());
    let app = both([web, cache], http, memcached);
    (Contained::new(Saboteur { app, plot: plot.clone() }), store)
}

impl Bed {
    /// `None` where this machine has no such transport.
    pub(crate) fn new(transport: Transport) -> Option<Bed> {
        panics::install();
        match transport {
            Transport::Xdp => need_root().then(Bed::xdp),
            Transport::Kernel(Poller::IoUring) if simoom::kernel::io_uring().is_err() => None,
            Transport::Kernel(poller) => Some(Bed::kernel(poller)),
        }
    }

    fn kernel(poller: Poller) -> Bed {
        let plot = Arc::new(Plot::default());
        let bind = || Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 1, 256).unwrap().remove(0);
        let listeners = vec![bind(), bind()];
        let [http, memcached] = [listeners[0].address(), listeners[1].address()];
        let (app, store) = app(&plot, [http.port(), memcached.port()]);
        let settings = Settings {
            send_entries: 256,
            send_chunks: 256,
            small_inputs: 8,
            large_inputs: 2,
            receive_buffers: 16,
            ..Settings::for_connections(CONNECTIONS)
        };
        let work = move |commands, snapshot| {
            run(poller, &settings, listeners, app, commands, snapshot, || ())
        };
        Bed { network: None, ..Bed::start(plot, store, [http, memcached], work) }
    }

    fn xdp() -> Bed {
        let plot = Arc::new(Plot::default());
        let network = Network::new(1).unwrap();
        let (app, store) = app(&plot, PORTS);
        let (mut device, queues, stack) = network.server.run(|| {
            let facts = netns::interface("s0").unwrap();
            let options = OpenOptions { mode: Some(Mode::Generic), ..OpenOptions::new("s0") };
            let (device, queues) = Device::open(&options).unwrap();
            let local =
                LocalAddress { address: Address::from(network.address(1)), dedicated: false };
            let limits = Limits {
                send_entries: 256,
                send_chunks: 256,
                small_input_buffers: 8,
                large_input_buffers: 2,
                ..Limits::for_connections(CONNECTIONS as u32)
            };
            let checksums = ChecksumPolicy::AcceptPartial;
            (
                device,
                queues,
                Config { checksums, ..Config::new(facts.mac, vec![local], [1, 2, 3, 4], limits) },
            )
        });
        let at = PORTS.map(|port| SocketAddr::new(network.address(1), port));
        let frames = device.umem().chunks();
        at.iter().for_each(|at| device.add_claim(Claim::Port(*at)).unwrap());
        let work = move |commands: CommandReceiver, snapshot| {
            let waker = command_waker();
            let handover = handover::ring(&[waker], frames).remove(0);
            let ports = PORTS.map(|port| (port, u32::MAX)).to_vec();
            Worker::new(Parts {
                queues,
                app,
                stack,
                ports,
                handover,
                commands,
                snapshot,
                busy_poll: false,
                drained: None,
                gso: None,
            })
            .run()
        };
        let bed = network.server.run(|| Bed::start(plot, store, at, work));
        Bed { network: Some(network), _device: Some(device), ..bed }
    }

    fn start<W>(
        plot: Arc<Plot>,
        store: Arc<Store>,
        [http, memcached]: [SocketAddr; 2],
        work: W,
    ) -> Bed
    where
        W: FnOnce(CommandReceiver, Arc<Snapshot>) -> std::io::Result<()> + Send + 'static,
    {
        let (sender, failures) = unbounded();
        let (command_sender, commands) = command_channel().unwrap();
        let snapshot = Snapshot::new("worker");
        let registry = Registry::default();
        registry.add(snapshot.clone());
        let thread =
            Some(spawn("worker".into(), None, sender, move || work(commands, snapshot)).unwrap());
        Bed {
            plot,
            store,
            http,
            memcached,
            network: None,
            registry,
            command_sender,
            thread,
            failures,
            _device: None,
        }
    }

    pub(crate) fn connect(&self, service: Service) -> TcpStream {
        let at = if service == Service::Http { self.http } else { self.memcached };
        let connect = || TcpStream::connect_timeout(&at, TEST_TIMEOUT);
        let stream = self
            .network
            .as_ref()
            .map_or_else(connect, |network| network.client.run(connect))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        self.registry
            .totals()
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, value)| *value)
    }

    pub(crate) fn wait_for(&self, name: &str, value: u64) {
        wait_until(
            &format!("{name} = {value}, of {:?}", self.registry.totals()),
            TEST_TIMEOUT,
            || {
                assert_eq!(self.failures.try_recv().ok(), None);
                self.count(name) == value
            },
        );
    }

    /// Waits for the worker to fail; returns the reason.
    pub(crate) fn failure(mut self) -> String {
        let failure = self.failures.recv_timeout(TEST_TIMEOUT).unwrap();
        self.thread.take().unwrap().join().unwrap();
        failure.reason
    }

    /// Drains, and ends in order.
    pub(crate) fn stop(mut self) {
        self.command_sender.send(Command::Drain(TEST_TIMEOUT));
        self.thread.take().unwrap().join().unwrap();
        assert_eq!(self.failures.try_recv().ok(), None);
        assert_eq!(self.count("handler_panics"), self.plot.injected());
    }
}

fn command_waker() -> simoom::control::Waker {
    command_channel().unwrap().0.waker()
}

/// memcached over UDP with a saboteur.
pub(crate) struct Datagrams {
    pub(crate) at: SocketAddr,
    pub(crate) plot: Arc<Plot>,
    pub(crate) store: Arc<Store>,
    registry: Registry,
    command_sender: CommandSender,
    thread: JoinHandle<()>,
    failures: Receiver<Failure>,
}

impl Datagrams {
    pub(crate) fn new() -> Datagrams {
        panics::install();
        let plot = Arc::new(Plot::default());
        let (app, store) = memcached();
        let socket =
            Socket::bind((Ipv4Addr::LOCALHOST, 0).into(), simoom::kernel::Presence::Now).unwrap();
        let at = socket.address();
        let (command_sender, commands) = command_channel().unwrap();
        let snapshot = Snapshot::new("udp");
        let registry = Registry::default();
        registry.add(snapshot.clone());
        let handler = datagram::Datagrams::new(Saboteur { app, plot: plot.clone() });
        let udp = Udp::new(vec![socket], handler, commands, snapshot);
        let (sender, failures) = unbounded();
        let thread = spawn("udp".into(), None, sender, move || udp.run()).unwrap();
        Datagrams { at, plot, store, registry, command_sender, thread, failures }
    }

    /// Ends it; returns its counters.
    pub(crate) fn stop(self) -> Vec<simoom::metrics::Count> {
        self.command_sender.send(Command::Drain(Duration::ZERO));
        self.thread.join().unwrap();
        assert_eq!(self.failures.try_recv().ok(), None);
        self.registry.totals()
    }
}
