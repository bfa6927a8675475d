//! A segment as a packet script writes it, with sequence numbers relative to each side's initial
//! one.
//!
//! ```text
//! SYN seq 0 win 65535 mss 1460 ws 7 sackOK ts 1 0
//! ACK PSH seq 1+100 ack 1 win 512 sack 301..401 501..601
//! ACK ECE ect seq 1+100 ack 1
//! ```
//!
//! `seq 1+100` carries 100 bytes from relative number 1 on. What is read from a line is sent, or
//! compared with what the stack sent; what the stack sent is printed in the same words.

use crate::seq::Seq;
use crate::wire::{Ecn, Flags, Options};
use std::fmt;

/// The bits that a script can name.
const FLAGS: [(&str, Flags); 7] = [
    ("SYN", Flags::SYN),
    ("FIN", Flags::FIN),
    ("RST", Flags::RST),
    ("PSH", Flags::PSH),
    ("ACK", Flags::ACK),
    ("ECE", Flags::ECE),
    ("CWR", Flags::CWR),
];

/// The ECN bits of the IP header, and their names; a packet without a name has none.
const ECN: [(&str, Ecn); 2] = [("ect", Ecn::CAPABLE), ("ce", Ecn::CONGESTED)];

/// One segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notation {
    /// The control bits.
    pub flags: Flags,
    /// The ECN bits of the IP header: `ect`, `ce`, or neither.
    pub ecn: Ecn,
    /// Relative sequence number.
    pub seq: u32,
    /// Bytes of text.
    pub len: u32,
    /// Relative acknowledgement number.
    pub ack: u32,
    /// As in the header, not scaled; not compared if a script leaves it out.
    pub window: Option<u16>,
    /// MSS, window scale, SACK-permitted and SACK blocks; the blocks are relative.
    pub options: Options,
    /// TSval and TSecr; each `None` where a script has `*`.
    pub timestamps: Option<(Option<u32>, Option<u32>)>,
    /// The peer's port.
    pub port: Option<u16>,
    /// VLAN of the frame, 0 for none.
    pub vlan: u16,
}

impl Notation {
    /// Reads the words of a script's line.
    pub fn parse(words: &[&str]) -> Result<Notation, String> {
        let mut read = Notation::default();
        let mut words = words.iter().copied().peekable();
        while let Some(word) = words.next() {
            if let Some((_, flag)) = FLAGS.iter().find(|(name, _)| *name == word) {
                read.flags = read.flags.with(*flag);
                continue;
            }
            if let Some((_, ecn)) = ECN.iter().find(|(name, _)| *name == word) {
                read.ecn = *ecn;
                continue;
            }
            let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
            match word {
                "seq" => (read.seq, read.len) = run(value()?)?,
                "ack" => read.ack = number(value()?)?,
                "win" => read.window = Some(number(value()?)?),
                "mss" => read.options.mss = Some(number(value()?)?),
                "ws" => read.options.window_scale = Some(number(value()?)?),
                "sackOK" => read.options.sack_permitted = true,
                "ts" => read.timestamps = Some((wildcard(value()?)?, wildcard(value()?)?)),
                "port" => read.port = Some(number(value()?)?),
                "vlan" => read.vlan = number(value()?)?,
                "sack" => {
                    while let Some(block) = words.next_if(|next| next.contains("..")) {
                        let (left, right) = block.split_once("..").expect("it was just seen");
                        let place = usize::from(read.options.sack_count);
                        *read.options.sack.get_mut(place).ok_or("at most four SACK blocks")? =
                            (Seq(number(left)?), Seq(number(right)?));
                        read.options.sack_count += 1;
                    }
                }
                _ => {
                    return Err(format!(
                        "`{word}` is neither a control bit nor a field of a segment"
                    ));
                }
            }
        }
        Ok(read)
    }

    /// Whether `sent` is what this line expects. PSH and the window count only if the line names
    /// them; options of a SYN must be exactly these, of other segments the SACK blocks must, and
    /// timestamps if named.
    pub fn matches(&self, sent: &Notation) -> bool {
        let flags = |of: &Notation| of.flags.0 & !Flags::PSH.0;
        let agree = |ours: Option<u32>, theirs: Option<u32>| ours.is_none() || ours == theirs;
        let timestamps = match (self.timestamps, sent.timestamps) {
            (Some(ours), Some(theirs)) => agree(ours.0, theirs.0) && agree(ours.1, theirs.1),
            (Some(_), None) => false,
            (None, Some(_)) => !self.flags.has(Flags::SYN),
            (None, None) => true,
        };
        flags(self) == flags(sent)
            && self.ecn == sent.ecn
            && (!self.flags.has(Flags::PSH) || sent.flags.has(Flags::PSH))
            && (self.seq, self.len) == (sent.seq, sent.len)
            && (!self.flags.has(Flags::ACK) || self.ack == sent.ack)
            && (self.window.is_none() || self.window == sent.window)
            && (self.port.is_none() || self.port == sent.port)
            && self.vlan == sent.vlan
            && self.options == sent.options
            && timestamps
    }
}

/// `1+100`: where, and how many bytes.
fn run(word: &str) -> Result<(u32, u32), String> {
    match word.split_once('+') {
        Some((seq, len)) => Ok((number(seq)?, number(len)?)),
        None => Ok((number(word)?, 0)),
    }
}

fn wildcard(word: &str) -> Result<Option<u32>, String> {
    if word == "*" { Ok(None) } else { number(word).map(Some) }
}

/// A decimal number; a negative one is what wraps to it.
pub(super) fn number<T: TryFrom<i64>>(word: &str) -> Result<T, String> {
    let value: i64 = word.parse().map_err(|_| format!("`{word}` is not a number"))?;
    let value = if value < 0 { i64::from(value as i32 as u32) } else { value };
    T::try_from(value).map_err(|_| format!("`{word}` is out of range"))
}

impl fmt::Display for Notation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, flag) in FLAGS {
            if self.flags.has(flag) {
                write!(f, "{name} ")?;
            }
        }
        if let Some((name, _)) = ECN.iter().find(|(_, ecn)| *ecn == self.ecn) {
            write!(f, "{name} ")?;
        }
        write!(f, "seq {}", self.seq as i32)?;
        if self.len > 0 {
            write!(f, "+{}", self.len)?;
        }
        if self.flags.has(Flags::ACK) {
            write!(f, " ack {}", self.ack as i32)?;
        }
        if let Some(window) = self.window {
            write!(f, " win {window}")?;
        }
        self.write_options(f)?;
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        if self.vlan != 0 {
            write!(f, " vlan {}", self.vlan)?;
        }
        Ok(())
    }
}

impl Notation {
    fn write_options(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mss) = self.options.mss {
            write!(f, " mss {mss}")?;
        }
        if let Some(shift) = self.options.window_scale {
            write!(f, " ws {shift}")?;
        }
        if self.options.sack_permitted {
            write!(f, " sackOK")?;
        }
        if let Some((value, echo)) = self.timestamps {
            let word =
                |of: Option<u32>| of.map_or_else(|| "*".to_owned(), |of| (of as i32).to_string());
            write!(f, " ts {} {}", word(value), word(echo))?;
        }
        if self.options.sack_count > 0 {
            write!(f, " sack")?;
        }
        for (left, right) in &self.options.sack[..usize::from(self.options.sack_count)] {
            write!(f, " {}..{}", left.0 as i32, right.0 as i32)?;
        }
        Ok(())
    }
}
