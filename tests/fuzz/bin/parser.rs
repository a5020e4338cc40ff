//! [`fuzz::parser`] for libFuzzer, which has the `main`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::parser::check(input));
