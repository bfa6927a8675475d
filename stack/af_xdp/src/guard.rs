//! A program beside the XDP program, at tc ingress: it runs on the frames that go to the kernel.
//!
//! It is of the same object and shares its maps. It is attached by a bpf_link, as the XDP program
//! is. tcx needs Linux 6.6.

use super::{Error, Program};
use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, TestRun, TestRunOptions};
use std::io;

/// `BPF_PROG_QUERY` of `<linux/bpf.h>`.
const BPF_PROG_QUERY: libc::c_int = 16;
/// `BPF_TCX_INGRESS` of `<linux/bpf.h>`.
const BPF_TCX_INGRESS: u32 = 46;
/// `BPF_MPROG_MAX` of the kernel: programs at one hook.
const PROGRAMS_MAX: usize = 64;
/// `TCX_NEXT` of `<linux/bpf.h>`: the next program decides, and without one the kernel goes on.
const TCX_NEXT: u32 = u32::MAX;

impl Program {
    /// Loads the program `name` of the object, in a section `classifier`, and attaches it at tc
    /// ingress of the interface, in front of other programs there. Like the XDP program it is
    /// detached when this value is dropped, or when the process ends. Call it again to attach the
    /// program again.
    pub fn attach_guard(&mut self, interface: &str, name: &str) -> Result<(), Error> {
        let failed =
            |error| Error::program("attaching at tc ingress (tcx: Linux 6.6 or later)", error);
        let program = guard(&mut self.ebpf, name)?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id =
            program.attach_with_options(interface, TcAttachType::Ingress, order).map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let link = FdLink::try_from(link)
            .map_err(|error| Error::program("the link of the guard", error))?;
        self.guard = Some(link);
        Ok(())
    }

    /// Whether the program `name` is at tc ingress of the interface. Another process may have
    /// detached it: its link still exists then and has no effect. Call it in the interface's
    /// network namespace.
    pub fn has_guard(&mut self, ifindex: u32, name: &str) -> Result<bool, Error> {
        let program = guard(&mut self.ebpf, name)?;
        let info = program.info().map_err(|error| Error::program("its identifier", error))?;
        let attached = tcx_programs(ifindex)
            .map_err(|error| Error::program("reading the programs at tc ingress", error))?;
        Ok(attached.contains(&info.id()))
    }

    /// Runs the program `name` over `frame` as if it came to tc ingress (BPF_PROG_TEST_RUN).
    /// Returns whether the kernel gets the frame.
    pub fn test_run_guard(&mut self, name: &str, frame: &[u8]) -> Result<bool, Error> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        let result = guard(&mut self.ebpf, name)?.test_run(options);
        let result = result.map_err(|error| Error::program("a test run", error))?;
        Ok(result.return_value == TCX_NEXT)
    }
}

/// The program, which is loaded if it is not yet.
fn guard<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, Error> {
    let missing =
        || Error::Program { step: "its object", reason: format!("it has no program {name:?}") };
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    let program: &mut SchedClassifier =
        program.try_into().map_err(|error| Error::program("its object", error))?;
    if program.fd().is_err() {
        program.load().map_err(|error| Error::program("loading the guard", error))?;
    }
    Ok(program)
}

/// The members `query` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Query {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    /// In: the capacity of `program_ids`. Out: the number of programs.
    count: u32,
    unused: u32,
    program_flags: u64,
    link_ids: u64,
    link_flags: u64,
    revision: u64,
}

/// The identifiers of the programs at tc ingress of an interface. aya's query also opens each of
/// them, for which CAP_SYS_ADMIN is needed.
fn tcx_programs(ifindex: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0u32; PROGRAMS_MAX];
    let mut query = Query {
        ifindex,
        attach_type: BPF_TCX_INGRESS,
        program_ids: ids.as_mut_ptr() as u64,
        count: PROGRAMS_MAX as u32,
        ..Query::default()
    };
    // SAFETY: the kernel reads and writes `size_of::<Query>()` bytes of `query`, and writes at most
    // `count` words at `program_ids`. Both live through the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    ids.truncate(query.count as usize);
    Ok(ids)
}
