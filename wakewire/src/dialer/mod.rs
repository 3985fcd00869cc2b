//! When to connect: one attempt at a time, with growing waits between.
