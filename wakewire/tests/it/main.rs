//! The integration tests, one binary.

mod composite;
