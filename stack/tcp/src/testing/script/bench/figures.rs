//! The numbers that a line can compare.

use super::super::statement::Figure;
use super::Bench;

impl Bench<'_> {
    pub(super) fn figure(&mut self, figure: &Figure) -> Result<u64, String> {
        let found = self.inspect(None);
        let connection = || found.ok_or_else(|| "there is no connection".to_owned());
        let strays = self.strays;
        Ok(match figure {
            Figure::Cwnd => connection()?.cwnd.into(),
            Figure::Ssthresh => connection()?.ssthresh.into(),
            Figure::Maximum => connection()?.mss.into(),
            Figure::Opened => self.app.opened,
            Figure::Received => self.app.received,
            Figure::Resumed => self.app.resumed,
            Figure::Strays => strays,
            Figure::Count(name) => {
                let (counters, drops) = self.stack().counters();
                let found =
                    counters.iter().chain(drops.iter()).find(|(known, _)| known.name == name);
                found.ok_or_else(|| format!("`{name}` is no counter"))?.1
            }
            Figure::Ownership(name) => {
                let ownership = self.stack().ownership();
                let value = match name.as_str() {
                    "connections" => ownership.connections,
                    "half_open" => ownership.half_open,
                    "send_entries" => ownership.send_entries,
                    "send_chunks" => ownership.send_chunks,
                    "input_buffers" => ownership.input_buffers,
                    "unresolved" => ownership.unresolved,
                    "extra_window_bytes" => ownership.extra_window_bytes,
                    "flight_runs" => ownership.flight_runs,
                    "reassembly_blocks" => ownership.reassembly_blocks,
                    _ => return Err(format!("`{name}` is no field of OwnershipCounts")),
                };
                value as u64
            }
        })
    }
}
