//! The built-in program, run by the kernel without an interface.

use crate::net::can_run;
use af_xdp::{Error, Program, Verdict};
use rustix::net::{AddressFamily, SocketType, socket};

static OBJECT: &[u8] = af_xdp::aya::include_bytes_aligned!("../../bpf/redirect.bpf.o");

#[test]
fn the_built_in_program_redirects_to_a_socket_and_passes_the_rest() {
    if !can_run() {
        return;
    }
    let mut program = Program::redirect_all(4).unwrap();
    assert_eq!(program.queues(), 4);
    assert_eq!(program.test_run(&[0; 64]).unwrap(), Verdict::Pass);
    // A test run comes in on queue 0. A socket need not be bound to be redirected to.
    let socket = socket(AddressFamily::XDP, SocketType::RAW, None).unwrap();
    program.set_socket(0, &socket).unwrap();
    assert_eq!(program.test_run(&[0; 64]).unwrap(), Verdict::Redirect);
    drop(socket);
    assert_eq!(
        program.test_run(&[0; 64]).unwrap(),
        Verdict::Pass,
        "a closed socket leaves the map"
    );
}

#[test]
fn what_an_object_lacks_is_named() {
    if !can_run() {
        return;
    }
    let reason = |error: Error| error.to_string();
    let error =
        Program::load(OBJECT, "steer", "sockets", 1).map_err(reason).expect_err("no such program");
    assert!(error.contains("no program \"steer\""), "{error}");
    let error =
        Program::load(OBJECT, "redirect", "claims", 1).map_err(reason).expect_err("no such map");
    assert!(error.contains("claims"), "{error}");
    let mut program = Program::load(OBJECT, "redirect", "sockets", 1).unwrap();
    let error = program
        .take_map("sockets")
        .map(drop)
        .map_err(reason)
        .expect_err("the program itself has it");
    assert!(error.contains("sockets is not in the object"), "{error}");
}
