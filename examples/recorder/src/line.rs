//! A message as a line of JSON: integers as exact decimal text, whatever their size. No I/O, no clock.

use serde_json::{Map, Value, json};
use wakewire_polygon::codec::{Malformed, Payload, Place, PoolEvent, PoolPrice, Spread, Token};

/// Returns the line of a message, without its end.
///
/// # Errors
///
/// The payload is not as documented. [`unreadable`] makes a line of it all the same.
pub(crate) fn line(message_type: u16, payload: &[u8]) -> Result<Value, Malformed> {
    let mut line = match Payload::read(message_type, payload)? {
        Payload::Pool(event) => of_event(&event),
        Payload::Spread(spread) => of_spread(&spread),
        Payload::Order(order) => json!({
            "kind": "Order",
            "id": order.id,
            "market": order.market,
            "side": format!("{:?}", order.side),
            "quantity": order.quantity.to_string(),
            "limit": order.limit.map(|limit| limit.to_string()),
        }),
        Payload::Fill(fill) => json!({
            "kind": "Fill",
            "order": fill.order,
            "id": fill.id,
            "quantity": fill.quantity.to_string(),
            "paid": fill.paid.to_string(),
            "fee": fill.fee.map(|fee| fee.to_string()),
        }),
        other => json!({ "kind": "Other", "debug": format!("{other:?}") }),
    };
    put(&mut line, [("type", json!(message_type))]);
    Ok(line)
}

/// Returns a line that keeps what could not be read, byte for byte.
pub(crate) fn unreadable(message_type: u16, payload: &[u8], why: Malformed) -> Value {
    json!({
        "kind": "Unreadable",
        "why": why.to_string(),
        "payload": payload.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "type": message_type,
    })
}

fn of_event(event: &PoolEvent) -> Value {
    let mut line = json!({
        "kind": event.change.name(),
        "pool": event.pool.address.to_string(),
        "token0": token(event.pool.token0),
        "token1": token(event.pool.token1),
    });
    put(&mut line, place(&event.place));
    let fields = event.change.fields().into_iter();
    put(
        &mut line,
        fields.map(|(name, value)| (name, Value::String(value))),
    );
    line
}

fn of_spread(spread: &Spread) -> Value {
    let price = |of: PoolPrice| {
        json!({
            "pool": of.pool.to_string(),
            "numerator": of.price.numerator().to_string(),
            "denominator": of.price.denominator().to_string(),
        })
    };
    let mut line = json!({
        "kind": "Spread",
        "token0": token(spread.token0),
        "token1": token(spread.token1),
        "low": price(spread.low),
        "high": price(spread.high),
        "threshold": spread.threshold,
    });
    put(&mut line, place(&spread.cause));
    line
}

fn token(token: Token) -> Value {
    json!({
        "address": token.address.map(|address| address.to_string()),
        "decimals": token.decimals,
    })
}

fn place(place: &Place) -> [(&'static str, Value); 5] {
    [
        ("block_number", json!(place.block_number)),
        ("block_hash", json!(place.block_hash.to_string())),
        (
            "transaction_hash",
            json!(place.transaction_hash.to_string()),
        ),
        ("log_index", json!(place.log_index)),
        ("removed", json!(place.removed)),
    ]
}

fn put(line: &mut Value, fields: impl IntoIterator<Item = (&'static str, Value)>) {
    let more: Map<String, Value> = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    if let Value::Object(line) = line {
        line.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, U256};
    use wakewire_polygon::codec::{Change, Pool};

    use super::*;

    #[test]
    fn an_event_keeps_every_digit() {
        let event = PoolEvent {
            place: Place {
                block_number: u64::MAX,
                removed: true,
                ..Place::default()
            },
            pool: Pool {
                token0: Token {
                    address: Some(Address::repeat_byte(0x22)),
                    decimals: Some(18),
                },
                ..Pool::default()
            },
            change: Change::Sync {
                reserve0: U256::MAX,
                reserve1: U256::from(1),
            },
        };
        let line = line(3, &event.encode()).unwrap();
        assert_eq!(
            line["reserve0"],
            "115792089237316195423570985008687907853269984665640564039457584007913129639935"
        );
        assert_eq!(
            (&line["kind"], &line["type"], &line["removed"]),
            (&json!("Sync"), &json!(3), &json!(true))
        );
        assert_eq!(line["block_number"].to_string(), u64::MAX.to_string());
        assert_eq!(line["token0"]["decimals"], 18);
        assert_eq!(line["token1"], json!({"address": null, "decimals": null}));
    }

    #[test]
    fn what_cannot_be_read_is_kept() {
        let why = line(3, &[1, 9]).unwrap_err();
        let line = unreadable(3, &[1, 9], why);
        assert_eq!(line["payload"], "0109");
        assert_eq!(
            line["why"],
            "the payload ends within the field at byte 1, 2 bytes early"
        );
    }
}
