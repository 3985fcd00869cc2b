//! services.toml: an error says where, and what is sound can be explained and read again.
#![no_main]

use wakewire::{ServiceRegistry, SinkError};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match ServiceRegistry::from_toml(text) {
        Ok(registry) => {
            for name in registry.names() {
                let service = registry.lookup(name).expect("a name that it says it has");
                assert!(!service.settings().is_empty());
                service.validate(name).expect("what was read is sound");
            }
        }
        Err(error) => {
            assert!(matches!(error, SinkError::InvalidConfig(_)), "{error:?}");
            assert!(!error.to_string().is_empty());
        }
    }
});
