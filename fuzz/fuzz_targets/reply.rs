//! `cargo fuzz run reply`; the body is [`windrow_fuzz::reply`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::reply(data));
