//! `cargo fuzz run request`; the body is [`windrow_fuzz::request`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::request(data));
