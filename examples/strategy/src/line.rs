//! Quotes and spreads as lines, for people or for programs. No I/O, no clock.

use serde_json::{Value, json};
use wakewire_polygon::codec::{Place, PoolPrice, Spread, Token};
use wakewire_polygon::price::Price;

use crate::market::Quote;

/// To how many digits a price is shown. Programs get the whole fraction.
const DIGITS: u8 = 12;

/// Adds the lines of a quote: its price, and the spreads that it opens.
pub(crate) fn write(quote: &Quote, json: bool, text: &mut String) {
    let mut put = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    put(if json {
        of_quote(quote).to_string()
    } else {
        let shown = quote.price.map_or_else(
            || "no price".to_owned(),
            |price| shown(&price, quote.pool.token0, quote.pool.token1),
        );
        let Place {
            block_number,
            log_index,
            ..
        } = quote.place;
        let pool = quote.pool.address;
        format!("{pool} {shown} (block {block_number}, log {log_index})")
    });
    for spread in &quote.spreads {
        put(if json {
            of_spread(spread).to_string()
        } else {
            let shown = |of: &PoolPrice| shown(&of.price, spread.token0, spread.token1);
            let (low, high) = (&spread.low, &spread.high);
            format!(
                "spread: {} in {}, {} in {}",
                shown(low),
                low.pool,
                shown(high),
                high.pool
            )
        });
    }
}

/// Rounded, in whole tokens where their decimals are known.
fn shown(price: &Price, token0: Token, token1: Token) -> String {
    match (token0.decimals, token1.decimals) {
        (Some(decimals0), Some(decimals1)) => price.rounded(decimals0, decimals1, DIGITS),
        _ => format!("{} (in smallest units)", price.rounded(0, 0, DIGITS)),
    }
}

fn of_quote(quote: &Quote) -> Value {
    let (token0, token1) = (quote.pool.token0, quote.pool.token1);
    json!({
        "kind": "price",
        "pool": quote.pool.address.to_string(),
        "token0": token0.address.map(|address| address.to_string()),
        "token1": token1.address.map(|address| address.to_string()),
        "price": quote.price.map(|price| shown(&price, token0, token1)),
        "numerator": quote.price.map(|price| price.numerator().to_string()),
        "denominator": quote.price.map(|price| price.denominator().to_string()),
        "removed": quote.place.removed,
        "block_number": quote.place.block_number,
        "block_hash": quote.place.block_hash.to_string(),
        "transaction_hash": quote.place.transaction_hash.to_string(),
        "log_index": quote.place.log_index,
    })
}

fn of_spread(spread: &Spread) -> Value {
    let price = |of: &PoolPrice| {
        json!({
            "pool": of.pool.to_string(),
            "price": shown(&of.price, spread.token0, spread.token1),
            "numerator": of.price.numerator().to_string(),
            "denominator": of.price.denominator().to_string(),
        })
    };
    json!({
        "kind": "spread",
        "low": price(&spread.low),
        "high": price(&spread.high),
        "threshold": spread.threshold,
        "block_number": spread.cause.block_number,
        "log_index": spread.cause.log_index,
    })
}
