use super::*;

#[test]
fn the_best_mode_is_tried_first_and_a_veth_is_taken_in_front_of_the_stack() {
    let modes = |requested, driver| -> Vec<Mode> {
        let mut modes: Vec<Mode> =
            attempts(requested, driver, (6, 18)).0.iter().map(|attempt| attempt.mode).collect();
        modes.dedup();
        modes
    };
    assert_eq!(modes(None, "some_nic"), [Mode::ZeroCopy, Mode::Copy, Mode::Generic]);
    assert_eq!(modes(None, "veth"), [Mode::Generic]);
    assert_eq!(modes(Some(Mode::Copy), "veth"), [Mode::Copy]);
    assert_eq!(modes(Some(Mode::ZeroCopy), "ena"), [Mode::ZeroCopy], "zero-copy on request");
    assert_eq!(modes(None, "ena"), [Mode::Copy, Mode::Generic]);
    let (_, left_out) = attempts(None, "ena", (6, 18));
    assert!(
        left_out.is_some_and(|(mode, reason)| mode == Mode::ZeroCopy && reason.contains("ena"))
    );
    let chains: Vec<bool> = attempts(Some(Mode::Copy), "veth", (6, 18))
        .0
        .iter()
        .map(|attempt| attempt.multi_buffer)
        .collect();
    assert_eq!(chains, [true, false], "multi-buffer first");
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
