//! What is to be done and what was done: types 40 and 41. No I/O, no clock.

use bytes::{BufMut, Bytes, BytesMut};
use wakewire::{Message, Precision};

use super::fields::{Field, Malformed, Reader, TEXT_LIMIT, Value, Writer};
use super::scale::Amount;

/// Something is to be bought or sold. Its amounts are all in tokens' own units, or all in fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written as a literal; a field more is another layout"
)]
pub struct Order<'a> {
    /// What the order is called, by whoever gives it; at most 255 bytes.
    pub id: &'a str,
    /// Where: the address of a pool, or a symbol such as `ETH-USD`; at most 255 bytes.
    pub market: &'a str,
    /// Whether to buy or to sell.
    pub side: Side,
    /// How much of the market's base: of token 0, or of what the symbol names first.
    pub quantity: Amount,
    /// What a whole unit of the base may cost at most, or must bring at least, in the quote; none takes any price.
    pub limit: Option<Amount>,
}

/// An order was carried out, as a whole or in part. Its amounts are all in tokens' own units, or all in fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written as a literal; a field more is another layout"
)]
pub struct Fill<'a> {
    /// The order's id; at most 255 bytes.
    pub order: &'a str,
    /// What this fill is called where it was made, such as a transaction's hash; at most 255 bytes.
    pub id: &'a str,
    /// How much of the base was bought or sold by it.
    pub quantity: Amount,
    /// What was paid or brought in, in the quote: all of it, not a price that would have been rounded.
    pub paid: Amount,
    /// What it has cost beside that, in the quote.
    pub fee: Option<Amount>,
}

/// To buy or to sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is no third side")]
pub enum Side {
    /// The base is bought.
    Buy,
    /// The base is sold.
    Sell,
}

/// Why there is no payload for an order or a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unencodable {
    /// A text is too long.
    #[error("`{field}` has {bytes} bytes, and may have 255")]
    LongText {
        /// Which field.
        field: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// A message has one precision, and so have all of its amounts.
    #[error(
        "some amounts are in tokens' own units and some in fixed point; a message has one of both"
    )]
    MixedScales,
}

const ID: u8 = 64;
const FILL: u8 = 65;
const MARKET: u8 = 66;
const SIDE: u8 = 67;
const QUANTITY: u8 = 68;
const LIMIT: u8 = 69;
const PAID: u8 = 70;
const FEE: u8 = 71;

impl<'a> Order<'a> {
    /// The message type.
    pub const TYPE: u16 = 40;

    /// Returns the message type.
    pub const fn message_type(&self) -> u16 {
        Self::TYPE
    }

    /// Returns the payload.
    ///
    /// # Errors
    ///
    /// A text may be too long, and amounts may not fit together.
    pub fn encode(&self) -> Result<Bytes, Unencodable> {
        within_limit("id", self.id)?;
        within_limit("market", self.market)?;
        precision(self.quantity, [self.limit])?;
        let mut to = Writer::new();
        to.put(ID, self.id);
        to.put(MARKET, self.market);
        to.put(SIDE, self.side);
        to.put(QUANTITY, self.quantity);
        to.put_some(LIMIT, self.limit);
        Ok(to.finish())
    }

    /// Returns the message, with its type and the precision of its amounts.
    ///
    /// # Errors
    ///
    /// A text may be too long, and amounts may not fit together.
    pub fn to_message(&self) -> Result<Message, Unencodable> {
        Ok(Message::new(self.encode()?)
            .with_type(Self::TYPE)
            .with_precision(self.quantity.scale.precision()))
    }

    /// Reads the payload of a message of type 40.
    ///
    /// # Errors
    ///
    /// Says what of the payload is not as documented, and at which byte.
    pub fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let from = Reader::new(payload)?;
        let order = Self {
            id: from.get(ID)?,
            market: from.get(MARKET)?,
            side: from.get(SIDE)?,
            quantity: from.get(QUANTITY)?,
            limit: from.optional(LIMIT)?,
        };
        precision(order.quantity, [order.limit]).map_err(|_| mixed(from))?;
        Ok(order)
    }
}

impl<'a> Fill<'a> {
    /// The message type.
    pub const TYPE: u16 = 41;

    /// Returns the message type.
    pub const fn message_type(&self) -> u16 {
        Self::TYPE
    }

    /// Returns the payload.
    ///
    /// # Errors
    ///
    /// A text may be too long, and amounts may not fit together.
    pub fn encode(&self) -> Result<Bytes, Unencodable> {
        within_limit("order", self.order)?;
        within_limit("id", self.id)?;
        precision(self.quantity, [Some(self.paid), self.fee])?;
        let mut to = Writer::new();
        to.put(ID, self.order);
        to.put(FILL, self.id);
        to.put(QUANTITY, self.quantity);
        to.put(PAID, self.paid);
        to.put_some(FEE, self.fee);
        Ok(to.finish())
    }

    /// Returns the message, with its type and the precision of its amounts.
    ///
    /// # Errors
    ///
    /// A text may be too long, and amounts may not fit together.
    pub fn to_message(&self) -> Result<Message, Unencodable> {
        Ok(Message::new(self.encode()?)
            .with_type(Self::TYPE)
            .with_precision(self.quantity.scale.precision()))
    }

    /// Reads the payload of a message of type 41.
    ///
    /// # Errors
    ///
    /// Says what of the payload is not as documented, and at which byte.
    pub fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let from = Reader::new(payload)?;
        let fill = Self {
            order: from.get(ID)?,
            id: from.get(FILL)?,
            quantity: from.get(QUANTITY)?,
            paid: from.get(PAID)?,
            fee: from.optional(FEE)?,
        };
        precision(fill.quantity, [Some(fill.paid), fill.fee]).map_err(|_| mixed(from))?;
        Ok(fill)
    }
}

const fn within_limit(field: &'static str, text: &str) -> Result<(), Unencodable> {
    let bytes = text.len();
    if bytes > TEXT_LIMIT {
        return Err(Unencodable::LongText { field, bytes });
    }
    Ok(())
}

/// Returns the precision that all of the amounts have.
fn precision(
    first: Amount,
    others: impl IntoIterator<Item = Option<Amount>>,
) -> Result<Precision, Unencodable> {
    let precision = first.scale.precision();
    let fits = |other: Amount| other.scale.precision() == precision;
    if others.into_iter().flatten().all(fits) {
        Ok(precision)
    } else {
        Err(Unencodable::MixedScales)
    }
}

fn mixed(from: Reader<'_>) -> Malformed {
    match from.field(QUANTITY) {
        Ok(field) => field.fault("another amount is in fixed point, or this one is"),
        Err(missing) => missing,
    }
}

impl<'a> Value<'a> for Side {
    fn get(field: Field<'a>) -> Result<Self, Malformed> {
        match field.bytes()? {
            [1] => Ok(Self::Buy),
            [2] => Ok(Self::Sell),
            _ => Err(field.fault("it is 1 to buy or 2 to sell")),
        }
    }
    fn put(self, payload: &mut BytesMut) {
        payload.put_u8(match self {
            Self::Buy => 1,
            Self::Sell => 2,
        });
    }
}
