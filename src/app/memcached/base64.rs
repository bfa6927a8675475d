//! Binary keys of meta commands: decodes and encodes base64. As in memcached, the decoder skips
//! characters outside of the base64 alphabet. Allocates nothing.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const NONE: u8 = 0x80;
static VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 64 {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values[b'=' as usize] = 0;
    values
}

/// Decodes `text` into `bytes`. Returns the length, or `None` if `text` is not base64 or does not
/// fit.
pub(super) fn decode(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
    let characters = text.iter().filter(|byte| VALUES[usize::from(**byte)] != NONE);
    let count = characters.clone().count();
    if count == 0 || count % 4 != 0 || count / 4 * 3 > bytes.len() {
        return None;
    }
    let (mut filled, mut block, mut in_block, mut pads) = (0, 0u32, 0, 0);
    for byte in characters {
        pads += usize::from(*byte == b'=');
        block = block << 6 | u32::from(VALUES[usize::from(*byte)]);
        in_block += 1;
        if in_block == 4 {
            bytes[filled..filled + 3].copy_from_slice(&block.to_be_bytes()[1..]);
            (filled, block, in_block) = (filled + 3, 0, 0);
            match pads {
                0 => {}
                1 | 2 => return Some(filled - pads),
                _ => return None,
            }
        }
    }
    Some(filled)
}

/// The base64 text of `bytes`, four characters at a time.
pub(super) fn encode(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    bytes.chunks(3).map(|chunk| {
        let byte = |index| u32::from(chunk.get(index).copied().unwrap_or(0));
        let block = byte(0) << 16 | byte(1) << 8 | byte(2);
        let character = |index: usize| match index > chunk.len() {
            true => b'=',
            false => ALPHABET[(block >> (18 - 6 * index)) as usize & 63],
        };
        std::array::from_fn(character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = [0; 190];
        decode(text, &mut bytes).map(|len| bytes[..len].to_vec())
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        for len in 1..=187 {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37 + len) as u8).collect();
            assert_eq!(decoded(&encode(&bytes).collect::<Vec<_>>().concat()), Some(bytes));
        }
        assert_eq!(encode(b"foobar").collect::<Vec<_>>().concat(), b"Zm9vYmFy", "RFC 4648 §10");
        assert_eq!(encode(b"foob").collect::<Vec<_>>().concat(), b"Zm9vYg==");
        assert_eq!(encode(b"fooba").collect::<Vec<_>>().concat(), b"Zm9vYmE=");
    }

    #[test]
    fn what_is_none_is_refused_or_passed_over() {
        for text in [&b""[..], b"Zm9", b"Z", b"====", b"Z===", b"!!!!"] {
            assert_eq!(decoded(text), None, "{}", text.escape_ascii());
        }
        assert_eq!(decoded(b"Z!m9-v"), Some(b"foo".to_vec()));
        assert_eq!(decoded(b"Zg==Zg=="), Some(b"f".to_vec()), "nothing behind the padding counts");
        assert_eq!(decode(b"Zm9v", &mut [0; 2]), None);
    }
}
