//! Decimal digits of a number, without allocation.

/// The two digits of each number below 100.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// The decimal digits of a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digits {
    bytes: [u8; 20],
    start: u8,
}

impl Digits {
    /// Formats `number`.
    #[inline]
    pub(crate) fn of(number: u64) -> Digits {
        let mut bytes = [0; 20];
        let start = write_before(&mut bytes, 20, number) as u8;
        Digits { bytes, start }
    }

    /// The digits, most significant first.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// Writes the digits of `number` to `bytes`, the last one before `end`. Returns where they start.
#[inline]
pub(crate) fn write_before(bytes: &mut [u8], end: usize, mut number: u64) -> usize {
    let mut start = end;
    // Two digits each, from the last on.
    while number >= 100 {
        start -= 2;
        bytes[start..start + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    let [tens, ones] = PAIRS[number as usize];
    start -= 1;
    bytes[start] = ones;
    if number >= 10 {
        start -= 1;
        bytes[start] = tens;
    }
    start
}

/// The number of decimal digits of `number`.
#[inline]
pub(crate) fn count(number: u64) -> usize {
    match number {
        0..10 => 1,
        10..100 => 2,
        100..1000 => 3,
        1000..10_000 => 4,
        _ => number.ilog10() as usize + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        let powers = (0..20).map(|power| 10u64.pow(power));
        let near = powers.flat_map(|power| [power - 1, power, power + 1]);
        for number in near.chain([7, 42, 12_345, 1 << 32, u64::MAX]) {
            let text = number.to_string();
            assert_eq!(Digits::of(number).bytes(), text.as_bytes());
            assert_eq!(count(number), text.len());
        }
    }
}
