//! The files of a relay that stores: each session is recovered in order and once, or it is damage with its place.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wakewire::fuzzing::store(input));
