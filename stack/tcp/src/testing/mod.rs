//! The stack's test bench: two stacks on a simulated link, packet scripts, and entry points for
//! fuzzing.
//!
//! Everything here is deterministic: the bench advances the time, and randomness comes from a seed
//! that every failure prints.

pub mod coverage;
pub mod echo;
pub mod forge;
pub mod fuzz;
pub mod link;
pub mod pair;
pub mod script;
pub mod seeds;
mod segment;
pub mod wire;

pub use coverage::Coverage;
pub use forge::{Forged, TooBig};
pub use link::{Link, Quality};
pub use pair::Pair;
pub use seeds::seeds;
pub use simoom_io::testing::Random;
