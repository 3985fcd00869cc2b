//! The decoder of frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wakewire::fuzzing::frames(input));
