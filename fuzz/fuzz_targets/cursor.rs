//! A cursor's file: what it says is written anew and read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wakewire::fuzzing::cursor(input));
