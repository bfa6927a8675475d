//! Lines: frames that end in LF or CR LF.

use super::{Codec, Decoded, Output};

/// A codec of lines. A frame is a line without its end. The codec ends each answer with CR LF.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    max_bytes: usize,
}

impl Lines {
    /// Lines of up to `max_bytes`, with their ends.
    pub fn new(max_bytes: usize) -> Lines {
        Lines { max_bytes }
    }
}

/// Lines of up to 8 KiB.
impl Default for Lines {
    fn default() -> Lines {
        Lines::new(8 << 10)
    }
}

impl Codec for Lines {
    type Frame<'a> = &'a [u8];
    type Answer<'a> = &'a [u8];
    /// Bytes without an LF.
    type Scan = usize;

    fn max_frame_bytes(&self) -> usize {
        self.max_bytes
    }

    fn decode<'a>(&self, bytes: &'a [u8], scan: &mut usize) -> Decoded<&'a [u8]> {
        let Some(distance) = memchr::memchr(b'\n', &bytes[*scan..]) else {
            *scan = bytes.len();
            return Decoded::Missing(1);
        };
        let line = &bytes[..*scan + distance];
        Decoded::Frame(line.strip_suffix(b"\r").unwrap_or(line), line.len() + 1)
    }

    fn encode(&self, answer: &[u8], output: &mut Output) {
        output.copy(answer);
        output.copy(b"\r\n");
    }
}
