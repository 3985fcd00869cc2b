//! The payloads of the three domains, field by field as `docs/payloads.md` says. No I/O, no clock.
//!
//! Reading allocates nothing: what has a fixed size is read in place, and text is borrowed from the payload.

mod change;
mod execution;
mod fields;
mod pool;
mod scale;
mod signal;

pub use self::change::Change;
pub use self::execution::{Fill, Order, Side, Unencodable};
pub use self::fields::{Field, Fields, Malformed, Reader};
pub use self::pool::{Place, Pool, PoolEvent, Token};
pub use self::scale::{Amount, Conversion, Integer, Scale};
pub use self::signal::{PoolPrice, Spread};

/// A payload, whichever it is.
///
/// ```
/// use wakewire_polygon::codec::{Amount, Order, Payload, Scale, Side};
/// use alloy_primitives::U256;
///
/// let order = Order {
///     id: "a-17",
///     market: "ETH-USD",
///     side: Side::Buy,
///     quantity: Amount::new(U256::from(150_000_000), Scale::FixedPoint8), // 1.5
///     limit: None,
/// };
/// let message = order.to_message()?;
/// assert_eq!(Payload::read(message.message_type, &message.payload)?, Payload::Order(order));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// Types 1–7: what a pool has done.
    Pool(PoolEvent),
    /// Type 20: two pools of a pair differ.
    Spread(Spread),
    /// Type 40: something is to be bought or sold.
    Order(Order<'a>),
    /// Type 41: it was, or a part of it.
    Fill(Fill<'a>),
}

impl<'a> Payload<'a> {
    /// Returns what a message of this type says.
    ///
    /// # Errors
    ///
    /// Says what of the payload is not as documented, and at which byte.
    pub fn read(message_type: u16, payload: &'a [u8]) -> Result<Self, Malformed> {
        match message_type {
            Spread::TYPE => Spread::read(payload).map(Self::Spread),
            Order::TYPE => Order::read(payload).map(Self::Order),
            Fill::TYPE => Fill::read(payload).map(Self::Fill),
            other => PoolEvent::read(other, payload).map(Self::Pool),
        }
    }
}

#[cfg(test)]
mod vectors;
