//! The choice of a controller, and the tables in which the controllers of all connections lie.
//!
//! A worker has one table for each algorithm that one of its ports uses, with an entry for each
//! connection. So an algorithm that is not used takes no memory, and a new one does not change the
//! size of a control block. An entry is written when its connection first needs it.

use super::{Ack, Control, Controller, Window};
use crate::config::Config;
use crate::tcp::rate;
use std::fmt;

/// An algorithm for congestion control.
///
/// [`Congestion::ALL`] lists those that this crate has. [`Congestion::of`] makes one of any
/// [`Controller`].
#[derive(Clone, Copy)]
pub struct Congestion {
    name: &'static str,
    about: &'static str,
    entry_bytes: usize,
    table: fn(usize) -> Box<dyn Table>,
}

impl Congestion {
    /// The algorithm whose controllers are `C`, with a name and a description of one line. Names
    /// of algorithms in one configuration must differ.
    pub const fn of<C: Controller + Default + 'static>(
        name: &'static str,
        about: &'static str,
    ) -> Congestion {
        Congestion { name, about, entry_bytes: size_of::<C>(), table: new_table::<C> }
    }

    /// The algorithm of [`Congestion::ALL`] with this name.
    pub fn named(name: &str) -> Option<Congestion> {
        Congestion::ALL.iter().find(|algorithm| algorithm.name == name).copied()
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A description of one line.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// Bytes of memory that the controllers and rate samplers of `connections` take, for the
    /// algorithms of one worker.
    pub(crate) fn memory_bytes(algorithms: &[Congestion], connections: u32) -> usize {
        let algorithms = distinct(algorithms.iter().copied());
        let samplers =
            if algorithms.iter().any(Congestion::is_rate_based) { rate::SAMPLER_BYTES } else { 0 };
        let entries: usize = algorithms.iter().map(|algorithm| algorithm.entry_bytes).sum();
        connections as usize * (entries + samplers)
    }

    /// Whether the algorithm uses delivery-rate samples.
    pub(crate) fn is_rate_based(&self) -> bool {
        (self.table)(1).get(0).is_rate_based()
    }
}

impl Default for Congestion {
    fn default() -> Congestion {
        Congestion::ALL[0]
    }
}

impl PartialEq for Congestion {
    fn eq(&self, other: &Congestion) -> bool {
        self.name == other.name
    }
}

impl Eq for Congestion {}

impl fmt::Debug for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn distinct(algorithms: impl Iterator<Item = Congestion>) -> Vec<Congestion> {
    let mut known = Vec::new();
    for algorithm in algorithms {
        if !known.contains(&algorithm) {
            known.push(algorithm);
        }
    }
    known
}

/// The controllers of one algorithm, one for each connection.
trait Table: Send {
    /// [`Controller::on_ack`], without a second virtual call.
    fn on_ack(&mut self, slot: usize, ack: &Ack<'_>, window: &mut Window);
    fn get(&mut self, slot: usize) -> &mut dyn Controller;
    fn reset(&mut self, slot: usize);
    #[cfg(any(test, feature = "testing"))]
    fn state(&self, slot: usize) -> &'static str;
}

impl<C: Controller + Default> Table for Vec<C> {
    fn on_ack(&mut self, slot: usize, ack: &Ack<'_>, window: &mut Window) {
        self[slot].on_ack(ack, window);
    }

    #[inline]
    fn get(&mut self, slot: usize) -> &mut dyn Controller {
        &mut self[slot]
    }

    fn reset(&mut self, slot: usize) {
        self[slot] = C::default();
    }

    #[cfg(any(test, feature = "testing"))]
    fn state(&self, slot: usize) -> &'static str {
        self[slot].state()
    }
}

fn new_table<C: Controller + Default + 'static>(connections: usize) -> Box<dyn Table> {
    Box::new((0..connections).map(|_| C::default()).collect::<Vec<C>>())
}

/// The controllers of a worker's connections.
pub(crate) struct Controllers {
    tables: Vec<Algorithm>,
    /// The table of each port that differs from the first.
    ports: Vec<(u16, u8)>,
    /// The rate samplers of connections with an algorithm by rate.
    pub(crate) samplers: Vec<rate::Sampler>,
}

struct Algorithm {
    #[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "for tests"))]
    congestion: Congestion,
    is_rate_based: bool,
    controllers: Box<dyn Table>,
}

impl Controllers {
    pub(crate) fn new(config: &Config) -> Controllers {
        let connections = config.limits.connections as usize;
        let of_ports = config.congestion_of_ports.iter().map(|(_, congestion)| *congestion);
        let algorithms = distinct(std::iter::once(config.congestion).chain(of_ports));
        let place = |congestion: &Congestion| {
            let place = algorithms.iter().position(|known| known == congestion);
            place.expect("each algorithm has a table") as u8
        };
        let ports = config.congestion_of_ports.iter();
        let ports = ports.map(|(port, congestion)| (*port, place(congestion))).collect();
        let tables: Vec<Algorithm> = algorithms
            .iter()
            .map(|congestion| Algorithm {
                congestion: *congestion,
                is_rate_based: congestion.is_rate_based(),
                controllers: (congestion.table)(connections),
            })
            .collect();
        let is_sampled = tables.iter().any(|table| table.is_rate_based);
        let samplers = vec![rate::Sampler::default(); if is_sampled { connections } else { 0 }];
        Controllers { tables, ports, samplers }
    }

    /// Whether one of the algorithms is by rate.
    pub(crate) fn are_sampled(&self) -> bool {
        !self.samplers.is_empty()
    }

    /// The choice for a new connection in `slot` that a peer has opened to `port`, or for another
    /// one with `None`. Also returns whether it is by rate.
    pub(crate) fn choose(&self, slot: u32, port: Option<u16>) -> (Control, bool) {
        let place = self.ports.iter().find(|(of, _)| Some(*of) == port);
        let table = place.map_or(0, |(_, table)| *table);
        (Control::new(slot, table), self.tables[usize::from(table)].is_rate_based)
    }

    /// The name of a connection's algorithm.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn algorithm(&self, control: &Control) -> Congestion {
        self.tables[usize::from(control.table)].congestion
    }

    /// The state of a connection's controller.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn state(&self, control: &Control) -> &'static str {
        let table = &self.tables[usize::from(control.table)].controllers;
        if control.has_begun { table.state(control.slot as usize) } else { "" }
    }

    /// The controller of a connection.
    pub(crate) fn of(&mut self, control: &mut Control) -> &mut dyn Controller {
        self.table(control).get(control.slot as usize)
    }

    /// Calls the controller of a connection for an acknowledgement.
    #[inline]
    pub(crate) fn on_ack(&mut self, control: &mut Control, ack: &Ack<'_>, window: &mut Window) {
        self.table(control).on_ack(control.slot as usize, ack, window);
    }

    #[inline]
    fn table(&mut self, control: &mut Control) -> &mut dyn Table {
        let table = &mut *self.tables[usize::from(control.table)].controllers;
        if !control.has_begun {
            control.has_begun = true;
            table.reset(control.slot as usize);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::testing::pair;

    const CONNECTIONS: u32 = 64;

    fn of(first: Congestion, others: &[Congestion]) -> Controllers {
        let ports = others.iter().zip(81..).map(|(congestion, port)| (port, *congestion));
        let limits = Limits::for_connections(CONNECTIONS);
        let config = pair::config(1, limits);
        let config = Config { congestion: first, congestion_of_ports: ports.collect(), ..config };
        Controllers::new(&config)
    }

    #[test]
    fn a_controller_that_no_port_uses_has_no_table() {
        let (cubic, bbr) = (Congestion::CUBIC, Congestion::BBR);
        for (first, others, tables, are_sampled) in [
            (cubic, &[][..], 1, false),
            (cubic, &[cubic, cubic], 1, false),
            (cubic, &[Congestion::NEWRENO], 2, false),
            (cubic, &[bbr, cubic, bbr], 2, true),
            (bbr, &[], 1, true),
        ] {
            let controllers = of(first, others);
            let found = (controllers.tables.len(), controllers.are_sampled());
            assert_eq!(found, (tables, are_sampled), "{first} and {others:?}");
        }
    }

    #[test]
    fn the_plan_has_the_bytes_of_the_tables_in_use() {
        let entry = |congestion: Congestion| CONNECTIONS as usize * congestion.entry_bytes;
        let planned = |algorithms: &[Congestion]| Congestion::memory_bytes(algorithms, CONNECTIONS);
        let (cubic, bbr) = (Congestion::CUBIC, Congestion::BBR);
        assert_eq!(planned(&[cubic]), entry(cubic));
        assert_eq!(planned(&[cubic, cubic]), entry(cubic));
        let samplers = CONNECTIONS as usize * rate::SAMPLER_BYTES;
        assert_eq!(planned(&[bbr]), entry(bbr) + samplers);
        assert_eq!(planned(&[cubic, bbr]), entry(cubic) + entry(bbr) + samplers);
        assert!(entry(cubic) < entry(bbr), "the larger one is not what all pay");
    }
}
