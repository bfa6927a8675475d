//! The XDP program of a device: load, attach, and the map of its sockets.
//!
//! In comes a BPF object, out goes a [`Program`]. The program is attached by a bpf_link: it is
//! detached when this value is dropped, or when the process ends for any reason. No frame passes
//! through here.

use super::Error;
use aya::maps::{Map, MapData, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{TestRun, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use std::os::fd::{AsFd, AsRawFd};

static REDIRECT: &[u8] = aya::include_bytes_aligned!("../bpf/redirect.bpf.o");

/// The program's decision on a frame: `XDP_PASS` and its siblings in `<linux/bpf.h>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The program failed; the kernel drops the frame.
    Aborted,
    /// The frame is dropped.
    Drop,
    /// The kernel's stack gets the frame.
    Pass,
    /// The interface sends the frame back.
    Transmit,
    /// A socket, or another interface, gets the frame.
    Redirect,
    /// A number that `<linux/bpf.h>` does not define.
    Other(u32),
}

impl From<u32> for Verdict {
    fn from(action: u32) -> Verdict {
        match action {
            0 => Verdict::Aborted,
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            3 => Verdict::Transmit,
            4 => Verdict::Redirect,
            other => Verdict::Other(other),
        }
    }
}

/// A loaded XDP program with its maps.
pub struct Program {
    pub(crate) ebpf: Ebpf,
    /// The program's name in the object.
    name: String,
    /// The name of its form for packets in one buffer, if there is one.
    linear: Option<String>,
    /// The identifier in the kernel of the form attached last.
    id: u32,
    queues: u32,
    link: Option<FdLink>,
    /// Where the link is.
    place: Place,
    sockets: XskMap<MapData>,
    /// Declared behind `link`: detached after it.
    pub(crate) guard: Option<FdLink>,
}

/// Where a program is attached, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the driver.
    Native,
    /// In front of the kernel's stack.
    Generic,
    /// In front of the kernel's stack, in the form for packets in one buffer.
    GenericLinear,
}

impl Program {
    /// Loads the XDP program `name` of a compiled BPF object, and sizes its XSKMAP `sockets` for
    /// `queues` receive queues. Nothing is attached yet.
    ///
    /// The program's section decides about multi-buffer: `xdp.frags` accepts packets of several
    /// buffers, `xdp` does not. `object` must be aligned to 8 bytes: embed it with
    /// [`aya::include_bytes_aligned`].
    pub fn load(object: &[u8], name: &str, sockets: &str, queues: u32) -> Result<Program, Error> {
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries(sockets, queues)
            .load(object)
            .map_err(|error| Error::program("its object and maps", error))?;
        let program = xdp(&mut ebpf, name)?;
        program.load().map_err(|error| Error::program("loading", error))?;
        let id = program.info().map_err(|error| Error::program("its identifier", error))?.id();
        let sockets = XskMap::try_from(take_map(&mut ebpf, sockets)?)
            .map_err(|error| Error::program("the map of sockets", error))?;
        Ok(Program {
            ebpf,
            name: name.to_owned(),
            linear: None,
            id,
            queues,
            link: None,
            place: Place::Generic,
            sockets,
            guard: None,
        })
    }

    /// Names a second program of the object, in a section `xdp`. [`super::Device::open`] attaches
    /// it in generic mode on devices whose packets come in one buffer: for a program of the section
    /// `xdp.frags` the kernel rebuilds each packet that the program passes on. Linux 6.3 to 7.1 may
    /// misalign the rebuilt packet, which is fatal on processors with split-lock detection.
    #[must_use]
    pub fn linear(mut self, name: &str) -> Program {
        self.linear = Some(name.to_owned());
        self
    }

    /// Loads the built-in program: it redirects each frame of a queue with a socket to that socket,
    /// and passes all other frames to the kernel's stack.
    pub fn redirect_all(queues: u32) -> Result<Program, Error> {
        Ok(Program::load(REDIRECT, "redirect", "sockets", queues)?.linear("redirect_linear"))
    }

    /// Receive queues that the map of sockets has entries for.
    pub fn queues(&self) -> u32 {
        self.queues
    }

    /// The program's identifier in the kernel, as `bpftool prog` shows it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Attaches the program to the interface, in the driver (`native`) or in front of the kernel's
    /// stack, unless it is attached that way already. A program belongs to one interface.
    pub fn attach(&mut self, ifindex: u32, native: bool) -> Result<(), Error> {
        self.attach_at(ifindex, if native { Place::Native } else { Place::Generic })
    }

    /// Attaches the program, or its form for the place, unless it is attached there already.
    pub(crate) fn attach_at(&mut self, ifindex: u32, place: Place) -> Result<(), Error> {
        if self.link.is_some() && self.place == place {
            return Ok(());
        }
        self.link = None;
        self.place = place;
        let mode = if place == Place::Native { XdpMode::Driver } else { XdpMode::Skb };
        let name = match &self.linear {
            Some(linear) if place == Place::GenericLinear => linear,
            _ => &self.name,
        };
        let failed = |error| Error::program("attaching", error);
        let program = xdp(&mut self.ebpf, name)?;
        if program.fd().is_err() {
            program.load().map_err(|error| Error::program("loading", error))?;
        }
        self.id = program.info().map_err(|error| Error::program("its identifier", error))?.id();
        let id = program.attach_to_if_index(ifindex, mode).map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        // Kernels before 5.9 have no link for XDP, and what is attached without one outlives a
        // killed process.
        let link = FdLink::try_from(link).map_err(|error| {
            Error::program("attaching by a bpf_link, Linux 5.9 or later", error)
        })?;
        self.link = Some(link);
        Ok(())
    }

    /// Attaches the program again, in the same mode, after another process has detached it. The
    /// link of a detached program still exists and has no effect.
    pub fn attach_again(&mut self, ifindex: u32) -> Result<(), Error> {
        self.link = None;
        self.attach_at(ifindex, self.place)
    }

    /// Enters the socket of a receive queue into the map of sockets, until the socket is closed.
    /// [`super::Device::open`] does this for each queue.
    pub fn set_socket(&mut self, queue: u32, socket: impl AsFd) -> Result<(), Error> {
        let set = self.sockets.set(queue, socket.as_fd().as_raw_fd(), 0);
        set.map_err(|error| Error::program("the map of sockets", error))
    }

    /// Takes a map of the object, for the caller to read and write while the program runs. Each map
    /// can be taken once.
    pub fn take_map(&mut self, name: &str) -> Result<Map, Error> {
        take_map(&mut self.ebpf, name)
    }

    /// Runs the program over `frame` as if it came in on queue 0 (BPF_PROG_TEST_RUN). Sends
    /// nothing.
    pub fn test_run(&mut self, frame: &[u8]) -> Result<Verdict, Error> {
        self.test_run_to(frame).map(|(verdict, _)| verdict)
    }

    /// The same, with the frame as the program leaves it.
    pub fn test_run_to(&mut self, frame: &[u8]) -> Result<(Verdict, Vec<u8>), Error> {
        let mut left = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut left),
            ..TestRunOptions::new()
        };
        let result = xdp(&mut self.ebpf, &self.name)?.test_run(options);
        let result = result.map_err(|error| Error::program("a test run", error))?;
        left.truncate(result.data_size_out as usize);
        Ok((result.return_value.into(), left))
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("attached", &self.link.is_some())
            .finish_non_exhaustive()
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    let missing =
        || Error::Program { step: "its object", reason: format!("it has no program {name:?}") };
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    program.try_into().map_err(|error| Error::program("its object", error))
}

fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map, Error> {
    let missing =
        || Error::Program { step: "its maps", reason: format!("{name} is not in the object") };
    ebpf.take_map(name).ok_or_else(missing)
}
