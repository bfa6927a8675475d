//! Frames with a length prefix, a big-endian number.

use super::{Codec, Decoded, Output};

/// A codec of frames with a big-endian length prefix of 1, 2, 4 or 8 bytes. Frames and answers do
/// not include the prefix.
#[derive(Clone, Copy, Debug)]
pub struct Prefixed {
    prefix_bytes: usize,
    max_bytes: usize,
}

impl Prefixed {
    /// Frames of up to `max_bytes`, without the prefix. Panics if `prefix_bytes` is not 1, 2, 4 or
    /// 8, or if `max_bytes` does not fit such a prefix.
    pub fn new(prefix_bytes: usize, max_bytes: usize) -> Prefixed {
        assert!(
            matches!(prefix_bytes, 1 | 2 | 4 | 8),
            "prefix of {prefix_bytes} bytes: must be 1, 2, 4 or 8"
        );
        let fits = prefix_bytes == 8 || max_bytes < 1 << (8 * prefix_bytes);
        assert!(fits, "max_bytes {max_bytes}: too large for a prefix of {prefix_bytes} bytes");
        Prefixed { prefix_bytes, max_bytes }
    }
}

impl Codec for Prefixed {
    type Frame<'a> = &'a [u8];
    type Answer<'a> = &'a [u8];
    type Scan = ();

    fn max_frame_bytes(&self) -> usize {
        self.max_bytes.saturating_add(self.prefix_bytes)
    }

    fn decode<'a>(&self, bytes: &'a [u8], (): &mut ()) -> Decoded<&'a [u8]> {
        let Some((prefix, behind)) = bytes.split_at_checked(self.prefix_bytes) else {
            return Decoded::Missing(self.prefix_bytes - bytes.len());
        };
        let length = prefix.iter().fold(0u64, |length, byte| length << 8 | u64::from(*byte));
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= self.max_bytes)
        else {
            return Decoded::Malformed(
                format!("a frame of {length} bytes: at most {} are allowed", self.max_bytes).into(),
            );
        };
        match behind.get(..length) {
            Some(frame) => Decoded::Frame(frame, self.prefix_bytes + length),
            None => Decoded::Missing(length - behind.len()),
        }
    }

    /// Panics if the length does not fit the prefix; the connection is then reset.
    fn encode(&self, answer: &[u8], output: &mut Output) {
        let length = (answer.len() as u64).to_be_bytes();
        let (unused, prefix) = length.split_at(8 - self.prefix_bytes);
        assert!(
            unused.iter().all(|byte| *byte == 0),
            "answer of {} bytes: too long for its prefix",
            answer.len()
        );
        output.copy(prefix);
        output.copy(answer);
    }
}
