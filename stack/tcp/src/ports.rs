//! Connections of each listening port, against a limit of its own: one service cannot use up the
//! connection table that another service shares.
//!
//! Half-open connections are not counted: anybody can forge their addresses.

/// A listening port and its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The port's number.
    pub number: u16,
    /// The largest number of connections at once.
    pub limit: u32,
    /// Connections now.
    pub open: u32,
    /// Connections refused because of the limit.
    pub refused: u64,
}

/// The listening ports of one worker: a handful at most.
#[derive(Clone, Debug, Default)]
pub struct Ports(Vec<Port>);

impl Ports {
    /// Adds a port with at most `limit` connections. A port that is there already keeps its limit.
    pub fn listen(&mut self, number: u16, limit: u32) {
        if !self.contains(number) {
            self.0.push(Port { number, limit, open: 0, refused: 0 });
        }
    }

    /// Whether `number` is a listening port.
    pub fn contains(&self, number: u16) -> bool {
        self.0.iter().any(|port| port.number == number)
    }

    /// Admits another connection to `number`, or counts the refusal. Returns how many more the port
    /// may have. A port that does not listen has no limit.
    pub fn admits(&mut self, number: u16) -> Option<u32> {
        let Some(port) = self.get_mut(number) else { return Some(u32::MAX) };
        let left = port.limit.checked_sub(port.open).filter(|left| *left > 0);
        port.refused += u64::from(left.is_none());
        left
    }

    /// Counts a new connection to `number`.
    pub fn add(&mut self, number: u16) {
        if let Some(port) = self.get_mut(number) {
            port.open += 1;
        }
    }

    /// Counts a closed connection to `number`.
    pub fn remove(&mut self, number: u16) {
        if let Some(port) = self.get_mut(number) {
            port.open = port.open.saturating_sub(1);
        }
    }

    /// Every port, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Port> {
        self.0.iter()
    }

    fn get_mut(&mut self, number: u16) -> Option<&mut Port> {
        self.0.iter_mut().find(|port| port.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_at_its_limit_refuses_and_leaves_the_others_alone() {
        let mut ports = Ports::default();
        ports.listen(80, 2);
        ports.listen(11211, 1);
        ports.add(11211);
        assert_eq!((ports.admits(11211), ports.admits(80)), (None, Some(2)));
        ports.add(80);
        assert_eq!(ports.admits(80), Some(1));
        ports.remove(11211);
        assert_eq!(ports.admits(11211), Some(1));
        let counts: Vec<_> =
            ports.iter().map(|port| (port.number, port.open, port.refused)).collect();
        assert_eq!(counts, [(80, 1, 0), (11211, 0, 1)]);
    }

    #[test]
    fn a_port_that_does_not_listen_has_no_limit_and_no_count() {
        let mut ports = Ports::default();
        ports.add(80);
        ports.remove(80);
        assert_eq!(ports.admits(80), Some(u32::MAX));
        assert!(!ports.contains(80) && ports.iter().next().is_none());
    }
}
