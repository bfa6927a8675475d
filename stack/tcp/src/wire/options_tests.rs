//! The options of SYNs: the layouts that are read at once, against the general parser.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// As Linux writes them.
fn of_linux(mss: [u8; 2], shift: u8, [a, b, c, d, e, f, g, h]: [u8; 8]) -> Vec<u8> {
    let [m, n] = mss;
    let stamps = [TIMESTAMPS, 10, a, b, c, d, e, f, g, h];
    let (front, back) = ([MSS, 4, m, n, SACK_PERMITTED, 2], [NOP, WINDOW_SCALE, 3, shift]);
    [&front[..], &stamps, &back].concat()
}

/// As this crate writes them.
fn ours(mss: [u8; 2], shift: u8, [a, b, c, d, e, f, g, h]: [u8; 8]) -> Vec<u8> {
    let options = Options {
        mss: Some(u16::from_be_bytes(mss)),
        window_scale: Some(shift),
        sack_permitted: true,
        timestamps: Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))),
        ..Options::default()
    };
    let mut bytes = [0; MAX_HEADER_BYTES - HEADER_BYTES];
    let len = options.emit(&mut bytes);
    bytes[..len].to_vec()
}

proptest! {
    #[test]
    fn the_options_of_a_syn_are_read_as_by_the_general_parser(
        is_of_linux: bool,
        mss: [u8; 2],
        shift: u8,
        stamps: [u8; 8],
        changes in vec((0usize..24, any::<u8>()), 0..2),
        cut in 0usize..6,
    ) {
        let mut bytes = match is_of_linux {
            true => of_linux(mss, shift, stamps),
            false => ours(mss, shift, stamps),
        };
        prop_assert!(parse_syn_options(&bytes).is_some());
        for (at, byte) in changes {
            if let Some(changed) = bytes.get_mut(at) {
                *changed = byte;
            }
        }
        bytes.truncate(bytes.len() - cut.saturating_sub(2));
        if let Some(options) = parse_syn_options(&bytes) {
            prop_assert_eq!(parse_any_options(&bytes), Ok(options));
        }
    }
}
