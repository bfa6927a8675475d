#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| simoom::app::testing::fuzz_resp(data));
