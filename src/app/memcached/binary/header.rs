//! Headers of the binary protocol: parses the 24 bytes of a request's header, and encodes those of
//! an answer. All numbers are big-endian.

/// Length of a header, of a request or an answer.
pub(crate) const HEADER_BYTES: usize = 24;
/// The first byte of a request.
pub(crate) const REQUEST: u8 = 0x80;
/// The first byte of an answer.
const ANSWER: u8 = 0x81;

/// A request's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) magic: u8,
    pub(super) opcode: u8,
    pub(super) key_len: u16,
    pub(super) extras_len: u8,
    /// Length of extras, key and value together.
    pub(super) body_len: u32,
    /// The answer repeats this value unchanged.
    pub(super) opaque: [u8; 4],
    pub(super) cas: u64,
}

impl Header {
    /// Parses the header at the start of `bytes`, if it is complete.
    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let [magic, opcode, k0, k1, extras_len, _, _, _, b0, b1, b2, b3, o0, o1, o2, o3, cas @ ..] =
            *bytes;
        Some(Header {
            magic,
            opcode,
            key_len: u16::from_be_bytes([k0, k1]),
            extras_len,
            body_len: u32::from_be_bytes([b0, b1, b2, b3]),
            opaque: [o0, o1, o2, o3],
            cas: u64::from_be_bytes(cas),
        })
    }

    /// The header of an answer that has no body.
    pub(super) fn answer(&self, status: Status) -> Answer {
        let Header { opcode, opaque, .. } = *self;
        Answer { opcode, key_len: 0, extras_len: 0, status, body_len: 0, opaque, cas: 0 }
    }

    /// Bytes between the header and the value.
    pub(super) fn front_len(&self) -> usize {
        usize::from(self.key_len) + usize::from(self.extras_len)
    }
}

/// The status of an answer. The numbers are memcached's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok = 0,
    NotFound = 1,
    Exists = 2,
    TooLarge = 3,
    Invalid = 4,
    NotStored = 5,
    NonNumeric = 6,
    UnknownCommand = 0x81,
    OutOfMemory = 0x82,
}

impl Status {
    /// The text in the body of an answer with this status.
    pub(super) fn text(self) -> &'static [u8] {
        match self {
            Status::Ok => b"",
            Status::NotFound => b"Not found",
            Status::Exists => b"Data exists for key.",
            Status::TooLarge => b"Too large.",
            Status::Invalid => b"Invalid arguments",
            Status::NotStored => b"Not stored.",
            Status::NonNumeric => b"Non-numeric server-side value for incr or decr",
            Status::UnknownCommand => b"Unknown command",
            Status::OutOfMemory => b"Out of memory allocating item",
        }
    }
}

/// An answer's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) opcode: u8,
    pub(super) key_len: u16,
    pub(super) extras_len: u8,
    pub(super) status: Status,
    pub(super) body_len: u32,
    pub(super) opaque: [u8; 4],
    pub(super) cas: u64,
}

impl Answer {
    #[inline]
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [k0, k1] = self.key_len.to_be_bytes();
        let [s0, s1] = (self.status as u16).to_be_bytes();
        let [b0, b1, b2, b3] = self.body_len.to_be_bytes();
        let [o0, o1, o2, o3] = self.opaque;
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.cas.to_be_bytes();
        [
            ANSWER,
            self.opcode,
            k0,
            k1,
            self.extras_len,
            0,
            s0,
            s1,
            b0,
            b1,
            b2,
            b3,
            o0,
            o1,
            o2,
            o3,
            c0,
            c1,
            c2,
            c3,
            c4,
            c5,
            c6,
            c7,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_protocol_says() {
        let mut bytes: [u8; HEADER_BYTES] = std::array::from_fn(|i| i as u8);
        bytes[0] = REQUEST;
        let header = Header::read(&bytes).unwrap();
        let expected = Header {
            magic: REQUEST,
            opcode: 1,
            key_len: 0x0203,
            extras_len: 4,
            body_len: 0x0809_0a0b,
            opaque: [12, 13, 14, 15],
            cas: 0x1011_1213_1415_1617,
        };
        assert_eq!(header, expected);
        assert_eq!(header.front_len(), 0x0207);
        assert_eq!(Header::read(&bytes[..23]), None);
    }

    #[test]
    fn an_answer_is_laid_out_like_a_request() {
        let answer = Answer {
            opcode: 1,
            key_len: 0x0203,
            extras_len: 4,
            status: Status::UnknownCommand,
            body_len: 0x0809_0a0b,
            opaque: [12, 13, 14, 15],
            cas: 0x1011_1213_1415_1617,
        };
        let mut expected: [u8; HEADER_BYTES] = std::array::from_fn(|i| i as u8);
        (expected[0], expected[5], expected[6], expected[7]) = (ANSWER, 0, 0, 0x81);
        assert_eq!(answer.to_bytes(), expected);
    }
}
