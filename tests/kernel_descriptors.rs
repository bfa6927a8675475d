//! Running out of file descriptors: a test alone in its process, because the limit is the
//! process's.

mod common;
#[path = "kernel/service.rs"]
#[allow(dead_code, reason = "the other tests of the kernel transport use all of it")]
mod service;

use rustix::net::{AddressFamily, SocketType, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service::{Client, Service};
use simoom::kernel::{Poller, Settings};
use std::net::TcpStream;
use std::os::fd::OwnedFd;

#[test]
fn without_descriptors_clients_wait_and_the_worker_does_not_spin() {
    over(Poller::Epoll);
    if service::need_io_uring() {
        over(Poller::IoUring);
    }
}

fn over(poller: Poller) {
    // io_uring looks at the limit when it begins to accept.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..limit }).unwrap();
    let service = Service::start(poller, &Settings::for_connections(64));
    let sockets: Vec<OwnedFd> =
        (0..8).map(|_| socket(AddressFamily::INET, SocketType::STREAM, None).unwrap()).collect();
    let mut others: Vec<OwnedFd> = std::iter::from_fn(|| sockets[0].try_clone().ok()).collect();
    others.truncate(others.len() - 3);
    let connected = sockets.into_iter().map(|fd| {
        connect(&fd, &service.address).unwrap();
        Client::new(TcpStream::from(fd))
    });
    let mut clients: Vec<Client> = connected.collect();
    service.wait_until("several pauses", |service| service.count("accept_pauses") >= 5);
    assert_eq!(service.count("connections_accepted"), 3);
    let (waits, pauses) = (service.count("wait_calls"), service.count("accept_pauses"));
    assert!(waits < 50 + 10 * pauses, "{waits} calls in {pauses} pauses");
    clients[..3].iter_mut().for_each(|client| client.ask("served meanwhile"));

    drop(others);
    clients.iter_mut().for_each(|client| client.ask("served in the end"));
    assert_eq!(service.count("accept_errors"), 0);
}
