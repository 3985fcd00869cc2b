//! The files of a spool: what is recovered has no hole, or it is damage with its place.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wakewire::fuzzing::spool(input));
