//! The command `wakewire`.
fn main() {}
