use super::*;

#[test]
fn the_best_mode_is_tried_first_and_a_veth_is_taken_in_front_of_the_stack() {
    let all = Some(XdpFeatures { act: 0x7f, zero_copy_max_segments: 8, xsk: 0 });
    let modes = |requested, driver| -> Vec<Mode> {
        let attempts = attempts(requested, driver, (6, 18), all, None).0;
        let mut modes: Vec<Mode> = attempts.iter().map(|attempt| attempt.mode).collect();
        modes.dedup();
        modes
    };
    assert_eq!(modes(None, "some_nic"), [Mode::ZeroCopy, Mode::Copy, Mode::Generic]);
    assert_eq!(modes(None, "veth"), [Mode::Generic]);
    assert_eq!(modes(Some(Mode::Copy), "veth"), [Mode::Copy]);
    assert_eq!(modes(Some(Mode::ZeroCopy), "ena"), [Mode::ZeroCopy], "zero-copy on request");
    assert_eq!(modes(None, "ena"), [Mode::Copy, Mode::Generic]);
    let (_, left_out) = attempts(None, "ena", (6, 18), all, None);
    assert!(
        matches!(&left_out[..], [(Mode::ZeroCopy, reason)] if reason.contains("ena")),
        "{left_out:?}"
    );
}

/// Each attempt in vain is a link flap.
#[test]
fn nothing_is_tried_that_the_driver_reports_not_to_have() {
    let attempts = |act, segments| -> Vec<(Mode, bool)> {
        let features = XdpFeatures { act, zero_copy_max_segments: segments, xsk: 0 };
        let attempts = attempts(None, "some_nic", (6, 18), Some(features), None).0;
        attempts.iter().map(|attempt| (attempt.mode, attempt.multi_buffer)).collect()
    };
    let (native, zero_copy) = (0b0111, 0b1111);
    let lower = [(Mode::Generic, true), (Mode::Generic, false)];
    let copy = [(Mode::Copy, true), (Mode::Copy, false)];
    assert_eq!(attempts(0, 1), lower);
    assert_eq!(attempts(native, 1), [copy, lower].concat());
    let zero_copy_only = |chains| vec![(Mode::ZeroCopy, chains)];
    assert_eq!(attempts(zero_copy, 1), [zero_copy_only(false), copy.into(), lower.into()].concat());
    assert_eq!(attempts(zero_copy, 8), [zero_copy_only(true), copy.into(), lower.into()].concat());
}

#[test]
fn a_device_that_cannot_have_zero_copy_is_opened_in_copy_mode() {
    let all = Some(XdpFeatures { act: 0x7f, zero_copy_max_segments: 1, xsk: 0 });
    let (attempts, left_out) = attempts(None, "virtio_net", (6, 18), all, Some("it needs more"));
    assert_eq!(attempts[0].mode, Mode::Copy);
    assert_eq!(left_out, [(Mode::ZeroCopy, "it needs more".to_owned())]);
}

#[test]
fn a_kernel_without_reports_is_not_asked_for_multi_buffer() {
    let (attempts, left_out) = attempts(None, "e1000e", (6, 1), None, None);
    let (modes, chains): (Vec<Mode>, Vec<bool>) =
        attempts.iter().map(|attempt| (attempt.mode, attempt.multi_buffer)).unzip();
    assert_eq!(modes, [Mode::Copy, Mode::Generic]);
    assert_eq!(chains, [false, false]);
    assert_eq!(left_out.len(), 1);
}

#[test]
fn only_a_veth_gets_packets_of_several_buffers_in_generic_mode() {
    assert_eq!(place(Mode::Generic, "veth"), Place::Generic);
    assert_eq!(place(Mode::Generic, "igb"), Place::GenericLinear);
    assert_eq!(place(Mode::Copy, "igb"), Place::Native);
}

fn refusal(change: impl FnOnce(&mut OpenOptions)) -> String {
    let rings = RingSizes { fill: 2048, rx: 2048, tx: 2048, completion: 2048 };
    let mut options = OpenOptions { rings, frames_per_queue: 8192, ..OpenOptions::new("none") };
    change(&mut options);
    options.validate().expect_err("out of bounds").to_string()
}

#[test]
fn options_out_of_bounds_are_named_with_value_and_bound() {
    OpenOptions::new("none").validate().expect("the defaults");
    let text = refusal(|options| options.rings.tx = 1000);
    assert_eq!(text, "rings.tx is 1000: a power of two from 64 to 1048576 is needed");
    assert!(refusal(|options| options.rings.rx = 1024).contains("at least rings.fill, 2048"));
    assert!(refusal(|options| options.chunk_bytes = 8192).starts_with("chunk_bytes is 8192"));
    let text = refusal(|options| options.frames_per_queue = 4096);
    assert!(text.starts_with("frames_per_queue is 4096: 4160 "), "{text}");
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let error =
        OpenOptions::new("no-such-if").queue_count().expect_err("there is none").to_string();
    assert!(error.contains("\"no-such-if\"") && error.contains("ip link"), "{error}");
}

#[test]
fn only_a_refusal_that_may_be_for_multi_buffer_is_tried_again_without() {
    let bind = |code| {
        let source = std::io::Error::from_raw_os_error(code);
        may_be_for_multi_buffer(&Error::Bind { queue: 0, mode: Mode::Copy, source })
    };
    assert!(bind(libc::EINVAL) && bind(libc::EOPNOTSUPP));
    assert!(!bind(libc::EBUSY) && !bind(libc::ENETDOWN));
    assert!(!may_be_for_multi_buffer(&Error::Program { step: "attaching", reason: String::new() }));
}
