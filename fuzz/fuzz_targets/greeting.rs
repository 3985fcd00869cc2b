//! The bodies of the frames of the handshake.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wakewire::fuzzing::greeting(input));
