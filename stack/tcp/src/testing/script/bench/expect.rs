//! Compares what the stack sends, and when, with a `>` line.

use super::super::{ArpNotation, Notation};
use super::Bench;
use simoom_io::{Duration, Instant};

impl Bench<'_> {
    /// Lets time pass until `at`, or until the stack sends something.
    fn wait(&mut self, at: Instant) {
        while self.wire.frames.is_empty() && self.now < at {
            // The wheel may return a time shortly before a timer is due; time must still pass.
            let next = self.stack().next_deadline().map_or(at, |after| self.now + after);
            self.now = next.max(self.now + Duration::from_millis(1)).min(at);
            self.flush();
        }
    }

    pub(super) fn expect_silence(&mut self, at: Instant) -> Result<(), String> {
        self.wait(at);
        let Some(frame) = self.wire.frames.pop_front() else { return Ok(()) };
        if let Some(sent) = ArpNotation::read(&frame) {
            return Err(format!("expected nothing, but at {} ms came `> {sent}`", self.millis()));
        }
        let sent = self.read(&frame)?;
        Err(format!("expected nothing, but at {} ms came `> {sent}`", self.millis()))
    }

    pub(super) fn expect_segment(
        &mut self,
        at: Instant,
        expected: &Notation,
    ) -> Result<(), String> {
        self.wait(at);
        let Some(frame) = self.wire.frames.pop_front() else {
            return Err(format!("nothing came until {} ms", self.millis()));
        };
        if let Some(sent) = ArpNotation::read(&frame) {
            return Err(format!("at {} ms came `> {sent}`", self.millis()));
        }
        let sent = self.read(&frame)?;
        if self.now != at {
            return Err(format!("at {} ms already came `> {sent}`", self.millis()));
        }
        if expected.matches(&sent) { Ok(()) } else { Err(format!("came `> {sent}`")) }
    }

    pub(super) fn expect_arp(&mut self, at: Instant, expected: &ArpNotation) -> Result<(), String> {
        self.wait(at);
        let Some(frame) = self.wire.frames.pop_front() else {
            return Err(format!("nothing came until {} ms", self.millis()));
        };
        let Some(sent) = ArpNotation::read(&frame) else {
            return Err(format!("at {} ms came `> {}`", self.millis(), self.read(&frame)?));
        };
        if self.now != at {
            return Err(format!("at {} ms already came `> {sent}`", self.millis()));
        }
        if expected.matches(&sent, self.config.mac) {
            Ok(())
        } else {
            Err(format!("came `> {sent}`"))
        }
    }
}
