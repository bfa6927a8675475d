//! `simoom compare`: Simoom beside other servers, under the same load, on the same cores, in turn.

mod ceiling;

pub use ceiling::{CeilingOptions, run as run_ceiling};
