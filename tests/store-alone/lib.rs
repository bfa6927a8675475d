//! The store and its tests, with the few modules of Simoom that it uses, under the paths that they
//! have there, and nothing else.

#![cfg(test)]
#![allow(dead_code, unreachable_pub, unused_imports, reason = "the rest of Simoom, which uses it, is missing")]

extern crate self as af_xdp;
extern crate self as simoom_tcp;

#[path = "../../src/limits/bytes.rs"]
mod bytes;
#[path = "../../src/digits.rs"]
mod digits;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../stack/af_xdp/src/memory.rs"]
pub mod memory;
#[path = "../../stack/tcp/src/testing/seeds.rs"]
mod seeds;
#[path = "../../src/store/mod.rs"]
mod store;
#[path = "../../src/work.rs"]
mod work;

mod limits {
    pub use super::bytes::Bytes;
}

pub mod testing {
    pub use super::seeds::seeds;
}
