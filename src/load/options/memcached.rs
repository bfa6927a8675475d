//! The flags for memcached, and the workload that they make.

use super::super::memcached::{MULTIGET_MAX, VALUE_MAX_BYTES, WorkloadSpec};
use crate::error::Result;
use clap::Args;

/// Unless the flags say, as the flags have them.
const KEYS_DEFAULT: u32 = 100_000;
const VALUE_BYTES_DEFAULT: u32 = 100;
const GET_RATIO_DEFAULT: f64 = 0.9;
/// The most keys: their names have eight digits.
const KEYS_MAX: u32 = 1_000_000_000;
/// Beyond this nearly all requests are for one key.
const ZIPF_MAX: f64 = 10.0;

/// The flags of `load` that memcached alone has a use for.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "memcached")]
pub struct MemcachedOptions {
    /// Number of keys [default: 100000]
    #[arg(long, value_name = "N", value_parser = keys)]
    pub keys: Option<u32>,

    /// Size of the values in bytes; with MIN-MAX it varies from key to key [default: 100]
    #[arg(long, value_name = "BYTES|MIN-MAX", value_parser = value_bytes)]
    pub value_size: Option<ValueBytes>,

    /// Share of gets among the requests; the others are sets [default: 0.9]
    #[arg(long, value_name = "SHARE", value_parser = get_ratio)]
    pub get_ratio: Option<f64>,

    /// Draw keys by Zipf's law with this exponent: the k-th in proportion to 1/k^S [default:
    /// uniform]
    #[arg(long, value_name = "S", value_parser = zipf)]
    pub zipf: Option<f64>,

    /// Number of keys in each get [default: 1]
    #[arg(long, value_name = "K", value_parser = multiget)]
    pub multiget: Option<u16>,

    /// Do not store all keys before the run
    #[arg(long)]
    pub no_preload: bool,
}

/// The least and the most bytes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueBytes(u32, u32);

fn keys(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(keys) if (1..=KEYS_MAX).contains(&keys) => Ok(keys),
        _ => Err(format!("not a number from 1 to {KEYS_MAX}")),
    }
}

fn value_bytes(text: &str) -> Result<ValueBytes, String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    match (least.parse(), most.parse()) {
        (Ok(least), Ok(most)) if 1 <= least && least <= most && most <= VALUE_MAX_BYTES => {
            Ok(ValueBytes(least, most))
        }
        _ => Err(format!(
            "not a number of bytes from 1 to {VALUE_MAX_BYTES}, nor a range of them; write 100 or 10-1000"
        )),
    }
}

fn get_ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("not a number from 0 to 1".to_owned()),
    }
}

fn zipf(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(exponent) if (0.0..=ZIPF_MAX).contains(&exponent) => Ok(exponent),
        _ => Err(format!("not a number from 0 to {ZIPF_MAX}")),
    }
}

fn multiget(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(count) if (1..=MULTIGET_MAX).contains(&count) => Ok(count),
        _ => Err(format!("not a number from 1 to {MULTIGET_MAX}")),
    }
}

impl MemcachedOptions {
    /// The workload.
    pub(crate) fn workload(&self) -> WorkloadSpec {
        let ValueBytes(least, most) =
            self.value_size.unwrap_or(ValueBytes(VALUE_BYTES_DEFAULT, VALUE_BYTES_DEFAULT));
        WorkloadSpec {
            keys: self.keys.unwrap_or(KEYS_DEFAULT),
            value_bytes: (least, most),
            get_ratio: self.get_ratio.unwrap_or(GET_RATIO_DEFAULT),
            zipf: self.zipf,
            multiget: self.multiget.unwrap_or(1),
            preload: !self.no_preload,
        }
    }

    /// Refuses what was given although another protocol is spoken.
    pub(crate) fn refuse(&self) -> Result<()> {
        let given = [
            ("--keys", self.keys.is_some()),
            ("--value-size", self.value_size.is_some()),
            ("--get-ratio", self.get_ratio.is_some()),
            ("--zipf", self.zipf.is_some()),
            ("--multiget", self.multiget.is_some()),
            ("--no-preload", self.no_preload),
        ];
        super::refuse_given(&given, "cannot be used without a memcached:// URL")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_one_number_or_two() {
        assert_eq!(value_bytes("100"), Ok(ValueBytes(100, 100)));
        assert_eq!(value_bytes("1-16777216"), Ok(ValueBytes(1, VALUE_MAX_BYTES)));
        for wrong in ["", "0", "-", "5-", "9-5", "16777217", "1-2-3", "x"] {
            assert!(value_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        assert!(keys("0").is_err() && keys("1000000001").is_err() && keys("1000000000").is_ok());
        assert!(get_ratio("1.01").is_err() && get_ratio("NaN").is_err() && get_ratio("0").is_ok());
        assert!(zipf("-1").is_err() && zipf("inf").is_err() && zipf("0.99").is_ok());
        assert!(multiget("0").is_err() && multiget("1000").is_err() && multiget("100").is_ok());
    }
}
