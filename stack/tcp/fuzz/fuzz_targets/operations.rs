#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| simoom_tcp::testing::fuzz::operations(data));
