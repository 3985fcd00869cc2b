//! The library's own code in orders of execution that shuttle chooses.

mod lanes;
mod lazy;
mod owed;
mod part;
mod peer;

use std::env;

/// Runs this in so many orders: half of them drawn evenly, half with few changes of task at places that matter (PCT).
/// `ORDERS` in the environment is another number. What hangs is a failure, and shuttle prints how to repeat it.
fn in_all_orders(model: fn()) {
    let orders = env::var("ORDERS").map_or(10_000, |text| text.parse().expect("a number"));
    shuttle::check_random(model, orders / 2);
    shuttle::check_pct(model, orders / 2, 3);
}
