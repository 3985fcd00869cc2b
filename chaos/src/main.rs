//! Kills, stops and cuts real processes under full load, and checks what became of every message.

mod checker;
mod payload;
mod ranges;
mod record;

fn main() {}
