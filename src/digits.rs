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
    pub(crate) fn of(mut number: u64) -> Digits {
        let mut digits = Digits { bytes: [0; 20], start: 20 };
        while number >= 100 {
            digits.push_front(PAIRS[(number % 100) as usize]);
            number /= 100;
        }
        let [tens, ones] = PAIRS[number as usize];
        if number >= 10 {
            digits.push_front([tens, ones]);
        } else {
            digits.start -= 1;
            digits.bytes[usize::from(digits.start)] = ones;
        }
        digits
    }

    #[inline]
    fn push_front(&mut self, pair: [u8; 2]) {
        self.start -= 2;
        let start = usize::from(self.start);
        self.bytes[start..start + 2].copy_from_slice(&pair);
    }

    /// The digits, most significant first.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// The number of decimal digits of `number`.
#[inline]
pub(crate) fn count(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
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
