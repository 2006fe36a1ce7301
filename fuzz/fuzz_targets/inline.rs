//! `cargo fuzz run inline`; the body is [`windrow_fuzz::inline`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::inline(data));
