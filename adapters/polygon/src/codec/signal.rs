//! What a strategy has concluded: type 20. No I/O, no clock.

use alloy_primitives::Address;
use alloy_primitives::aliases::U320;
use bytes::{BufMut, Bytes, BytesMut};
use wakewire::{Message, Precision};

use super::fields::{Field, Malformed, Reader, Value, Writer};
use super::pool::{Place, TOKEN0, TOKEN1, Token};
use super::scale::Scale;
use crate::price::Price;

/// Two pools of one pair ask for different prices, by more than a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written as a literal; a field more is another layout"
)]
pub struct Spread {
    /// The event after which it was so.
    pub cause: Place,
    /// The pair's token with the lower address, which the prices are for.
    pub token0: Token,
    /// The other one, which the prices are in.
    pub token1: Token,
    /// Where token 0 is cheaper.
    pub low: PoolPrice,
    /// Where it is dearer.
    pub high: PoolPrice,
    /// By how many millionths of the lower price they have to differ; they differ by more.
    pub threshold: u32,
}

/// What a pool asks for token 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written as a literal; a field more is another layout"
)]
pub struct PoolPrice {
    /// The pool.
    pub pool: Address,
    /// Its price, exactly.
    pub price: Price,
}

const LOW_POOL: u8 = 48;
const LOW_PRICE: u8 = 49;
const HIGH_POOL: u8 = 50;
const HIGH_PRICE: u8 = 51;
const THRESHOLD: u8 = 52;

impl Spread {
    /// The message type.
    pub const TYPE: u16 = 20;

    /// Returns the message type.
    pub const fn message_type(&self) -> u16 {
        Self::TYPE
    }

    /// Returns the payload.
    pub fn encode(&self) -> Bytes {
        let mut to = Writer::new();
        self.cause.write(&mut to);
        to.put_some(TOKEN0, self.token0.address);
        to.put_some(TOKEN1, self.token1.address);
        for (pool, price, of) in [
            (LOW_POOL, LOW_PRICE, self.low),
            (HIGH_POOL, HIGH_PRICE, self.high),
        ] {
            to.put(pool, of.pool);
            to.put(
                price,
                ScaledPrice {
                    scale0: self.token0.scale(),
                    scale1: self.token1.scale(),
                    price: of.price,
                },
            );
        }
        to.put(THRESHOLD, self.threshold);
        to.finish()
    }

    /// Returns the message, with its type and its precision: the tokens' own.
    pub fn to_message(&self) -> Message {
        Message::new(self.encode())
            .with_type(Self::TYPE)
            .with_precision(Precision::TokenNative)
    }

    /// Reads the payload of a message of type 20.
    ///
    /// # Errors
    ///
    /// Says what of the payload is not as documented, and at which byte.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let from = Reader::new(payload)?;
        let low: ScaledPrice = from.get(LOW_PRICE)?;
        let high: ScaledPrice = from.get(HIGH_PRICE)?;
        if (low.scale0, low.scale1) != (high.scale0, high.scale1) {
            return Err(from
                .field(HIGH_PRICE)?
                .fault("the other price has another scale"));
        }
        Ok(Self {
            cause: Place::read(from)?,
            token0: Token {
                address: from.optional(TOKEN0)?,
                decimals: low.scale0.decimals(),
            },
            token1: Token {
                address: from.optional(TOKEN1)?,
                decimals: low.scale1.decimals(),
            },
            low: PoolPrice {
                pool: from.get(LOW_POOL)?,
                price: low.price,
            },
            high: PoolPrice {
                pool: from.get(HIGH_POOL)?,
                price: high.price,
            },
            threshold: from.get(THRESHOLD)?,
        })
    }
}

/// A price as it stands in a payload: smallest units of token 1 for one of token 0, and what those are.
struct ScaledPrice {
    scale0: Scale,
    scale1: Scale,
    price: Price,
}

impl<'a> Value<'a> for ScaledPrice {
    fn get(field: Field<'a>) -> Result<Self, Malformed> {
        let [kind0, decimals0, kind1, decimals1, fraction @ ..] = *field.bytes::<84>()?;
        let scale = |bytes| match Scale::from_bytes(bytes) {
            Some(scale) if scale.precision() == Precision::TokenNative => Ok(scale),
            _ => Err(field.fault("a pool counts in its tokens' own units")),
        };
        let (numerator, denominator) = fraction.split_at(40);
        let number = |bytes| U320::try_from_be_slice(bytes).unwrap_or_default();
        let price = Price::new(number(numerator), number(denominator));
        Ok(Self {
            scale0: scale([kind0, decimals0])?,
            scale1: scale([kind1, decimals1])?,
            price: price.ok_or_else(|| field.fault("a side of the fraction is 0"))?,
        })
    }
    fn put(self, payload: &mut BytesMut) {
        payload.put_slice(&self.scale0.to_bytes());
        payload.put_slice(&self.scale1.to_bytes());
        payload.put_slice(&self.price.numerator().to_be_bytes::<40>());
        payload.put_slice(&self.price.denominator().to_be_bytes::<40>());
    }
}
