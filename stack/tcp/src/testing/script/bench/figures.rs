//! The figures that a line can ask for.

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
            Figure::Census(name) => {
                let census = self.stack().census();
                let value = match name.as_str() {
                    "connections" => census.connections,
                    "half_open" => census.half_open,
                    "send_entries" => census.send_entries,
                    "send_chunks" => census.send_chunks,
                    "kept" => census.kept,
                    "unresolved" => census.unresolved,
                    "widened_bytes" => census.widened_bytes,
                    "flight_runs" => census.flight_runs,
                    "reassembly_blocks" => census.reassembly_blocks,
                    _ => return Err(format!("`{name}` is not in the census")),
                };
                value as u64
            }
        })
    }
}
