//! How peers greet, refuse and leave: the control frames that carry CBOR maps. No I/O, no clock.

use bytes::BytesMut;
use minicbor::{Decode, Encode};
use secrecy::ExposeSecret;

use super::frame::{self, Header, Kind, SEQUENCE_LIMIT};
use super::negotiation::ProtocolNegotiation;
use super::session::Position;
use super::text;
use super::{ProtocolError, SessionId};
use crate::security::Credentials;

/// The versions of the protocol that this build speaks.
pub(crate) const VERSION: u32 = 1;

/// The first frame of whoever dials.
#[derive(Clone, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub(crate) struct Hello {
    /// The oldest version it speaks.
    #[n(0)]
    pub(crate) oldest: u32,
    /// The newest version it speaks.
    #[n(1)]
    pub(crate) newest: u32,
    /// The service it wants, so that a wrong endpoint is noticed; empty for whichever is served.
    #[n(2)]
    #[cbor(decode_with = "text::name")]
    pub(crate) service: String,
    /// What it may be sent.
    #[n(3)]
    pub(crate) limits: Limits,
    /// What it is; exactly one of the three, or `probe`.
    #[n(4)]
    pub(crate) producer: Option<Producer>,
    #[n(5)]
    pub(crate) consumer: Option<Consumer>,
    #[n(6)]
    pub(crate) requester: Option<Requester>,
    /// It only wants to know whether somebody is there: pings follow, and nothing else.
    #[n(9)]
    pub(crate) probe: Option<bool>,
    /// Who it is; never sent in the clear over a network.
    #[n(7)]
    pub(crate) credentials: Option<Credentials>,
    /// What it offered before, said again where nobody can change it.
    #[n(8)]
    pub(crate) offer: Option<ProtocolNegotiation>,
}

/// What a requester says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub(crate) struct Requester {
    /// How many requests it may have open at a time; 0 = as many as the other side allows.
    #[n(0)]
    pub(crate) in_flight: u32,
}

/// What a producer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub(crate) struct Producer {
    #[n(0)]
    pub(crate) session: SessionId,
    /// The number after the last one acknowledged (rule P2).
    #[n(1)]
    #[cbor(decode_with = "real_sequence")]
    pub(crate) first_owed: u64,
    /// Whether frames leave its outbox when written.
    #[n(2)]
    pub(crate) at_most_once: bool,
    /// Whether it says when it waits for an acknowledgement, so that those it does not wait for may be held.
    #[n(3)]
    pub(crate) urges: Option<bool>,
}

/// What a consumer says of itself (rule C1). Its positions follow in as many `Positions` frames as they need.
#[derive(Clone, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub(crate) struct Consumer {
    /// The name it is waited for by; none for an unnamed one.
    #[n(0)]
    #[cbor(decode_with = "text::maybe_name", default)]
    pub(crate) name: Option<String>,
    /// A random number, the same for all connections of one life.
    #[n(1)]
    pub(crate) id: SessionId,
    #[n(2)]
    pub(crate) at_most_once: bool,
    #[n(3)]
    pub(crate) start: Start,
    /// How many positions follow in all.
    #[n(4)]
    pub(crate) positions: u32,
}

/// Where a consumer begins with what it has not heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Decode, Encode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum Start {
    /// At what nobody has taken yet. The default: nothing accepted is passed over.
    #[default]
    #[n(0)]
    Owed,
    /// At what comes from now on; for feeds whose old values are worthless. Makes the consumer one that is
    /// not waited for.
    #[n(1)]
    Latest,
    /// At the oldest message that the relay still holds, acknowledged or not.
    #[n(2)]
    Earliest,
}

/// What a peer may be sent and how long it keeps a silent connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub(crate) struct Limits {
    /// The most bytes after a header.
    #[n(0)]
    pub(crate) frame: u32,
    /// How long a connection may be idle before this side closes it, in ms; 0 = for ever.
    #[n(1)]
    pub(crate) idle_ms: u32,
    /// After how long without receiving anything this side asks, in ms.
    #[n(2)]
    pub(crate) ping_ms: u32,
}

/// The answer to a `Hello` that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub(crate) struct Welcome {
    /// The version that both speak.
    #[n(0)]
    pub(crate) version: u32,
    #[n(1)]
    pub(crate) limits: Limits,
    /// To a producer: may be forgotten up to here.
    #[n(2)]
    #[cbor(decode_with = "sequence")]
    pub(crate) acked: u64,
    /// To a producer: need not be sent again up to here, but must be kept.
    #[n(3)]
    #[cbor(decode_with = "sequence")]
    pub(crate) have: u64,
    /// To a producer: 0 when nobody takes messages at present. A listener counts itself.
    #[n(4)]
    pub(crate) consumers: u32,
    /// Which process answers: a random number, new with each life.
    #[n(5)]
    pub(crate) node: SessionId,
    /// What this side offered before, said again where nobody can change it.
    #[n(6)]
    pub(crate) offer: Option<ProtocolNegotiation>,
    /// To a requester: how many requests it may have open at a time.
    #[n(7)]
    pub(crate) in_flight: Option<u32>,
    /// To a producer that urges: for so many ms an acknowledgement may be held that it does not wait for.
    #[n(8)]
    pub(crate) hold_ms: Option<u32>,
}

/// The answer to a `Hello` that is not taken, or the reason of a `Close`.
#[derive(Clone, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub(crate) struct Reject {
    #[n(0)]
    pub(crate) code: Code,
    /// For people.
    #[n(1)]
    #[cbor(decode_with = "text::remark")]
    pub(crate) text: String,
    /// Not before this many ms; 0 = as the dialer thinks fit.
    #[n(2)]
    pub(crate) retry_after_ms: u32,
}

/// Why a peer refuses or leaves; the number tells whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(index_only)]
pub(crate) enum Code {
    /// Idle, or done. Nothing is wrong.
    #[n(0)]
    Done,
    /// Shutting down; another may come.
    #[n(1)]
    Leaving,
    /// No room now.
    #[n(2)]
    Busy,
    /// A newer connection of the same session or consumer took over.
    #[n(3)]
    Replaced,
    /// Too slow for too long.
    #[n(4)]
    Overdue,
    /// No common version.
    #[n(16)]
    Version,
    /// This endpoint serves another service.
    #[n(17)]
    Service,
    /// The peer broke the protocol.
    #[n(18)]
    Protocol,
    /// This endpoint has no such role: a listener has no consumers.
    #[n(19)]
    Role,
    /// What the peer asks for contradicts the service's configuration.
    #[n(20)]
    Refused,
    /// The peer is not who it must be, or did not say so.
    #[n(21)]
    Unauthorized,
    /// This side speaks no protocol that the peer does; TLS is missing, mostly.
    #[n(22)]
    Unprotected,
}

impl Code {
    /// Returns whether the same attempt would fail again.
    pub(crate) const fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::Version
                | Self::Service
                | Self::Role
                | Self::Refused
                | Self::Unauthorized
                | Self::Unprotected
        )
    }
}

/// Part of what a consumer has and has processed.
#[derive(Clone, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub(crate) struct PositionList {
    #[n(0)]
    #[cbor(decode_with = "position_list")]
    pub(crate) positions: Vec<Position>,
}

/// Rule C2: of this session nothing up to `after` comes on this connection. The header's origin says by which
/// number its frames are known from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub(crate) struct Gap {
    #[n(0)]
    pub(crate) session: SessionId,
    #[n(1)]
    #[cbor(decode_with = "sequence")]
    pub(crate) after: u64,
    /// Left out by the consumer's own filter, so not missed.
    #[n(2)]
    pub(crate) filtered: bool,
}

/// Positions per frame: 32 bytes of CBOR each and a little, well below [`POSITIONS_LIMIT`].
pub(crate) const POSITIONS_PER_FRAME: usize = 1000;

/// The most bytes of a `Positions` frame; read only from a peer whose `Hello` was taken.
pub(crate) const POSITIONS_LIMIT: u32 = 64 * 1024;

impl<C> Encode<C> for Credentials {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?
            .str(&self.username)?
            .str(self.password.expose_secret())?
            .ok()
    }
}

impl<'b, C> Decode<'b, C> for Credentials {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.array()? != Some(2) {
            return Err(minicbor::decode::Error::message(
                "credentials are a user and a password",
            ));
        }
        let username = d.str()?;
        Ok(Self::new(username, d.str()?))
    }
}

impl<C> Encode<C> for SessionId {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0.to_be_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for SessionId {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        let bytes = bytes
            .try_into()
            .map_err(|_| minicbor::decode::Error::message("an id has 16 bytes"))?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }
}

/// Reads a sequence, or 0 for "none yet". One that is out of range is refused here, so that nobody who counts
/// with it can overflow.
fn sequence<C>(d: &mut minicbor::Decoder<'_>, _: &mut C) -> Result<u64, minicbor::decode::Error> {
    in_range(d.u64()?)
}

fn in_range(number: u64) -> Result<u64, minicbor::decode::Error> {
    if number >= SEQUENCE_LIMIT {
        let what = format!("sequence {number} is out of range");
        return Err(minicbor::decode::Error::message(what));
    }
    Ok(number)
}

/// Reads the sequence of a message: they start at 1.
fn real_sequence<C>(
    d: &mut minicbor::Decoder<'_>,
    context: &mut C,
) -> Result<u64, minicbor::decode::Error> {
    match sequence(d, context)? {
        0 => Err(minicbor::decode::Error::message("there is no message 0")),
        number => Ok(number),
    }
}

fn position_list<C>(
    d: &mut minicbor::Decoder<'_>,
    context: &mut C,
) -> Result<Vec<Position>, minicbor::decode::Error> {
    let positions: Vec<Position> = d.decode_with(context)?;
    for position in &positions {
        in_range(position.processed.max(position.have))?;
    }
    Ok(positions)
}

/// Appends a control frame with a CBOR body.
pub(crate) fn encode(kind: Kind, body: &impl Encode<()>, checksummed: bool, out: &mut BytesMut) {
    encode_with(Header::control(kind), body, checksummed, out);
}

/// Appends a control frame with a CBOR body under this header.
pub(crate) fn encode_with(
    header: Header,
    body: &impl Encode<()>,
    checksummed: bool,
    out: &mut BytesMut,
) {
    let mut cbor = Vec::with_capacity(128);
    // Writing into a `Vec` cannot fail, and none of these types refuses to be encoded.
    if minicbor::encode(body, &mut cbor).is_ok() {
        frame::encode_control(header, &cbor, checksummed, out);
    }
}

/// Reads the CBOR body of a control frame; keys that this version does not know are skipped.
pub(crate) fn decode<'b, T: Decode<'b, ()>>(
    kind: Kind,
    body: &'b [u8],
) -> Result<T, ProtocolError> {
    let malformed = |what: String| ProtocolError::Malformed { kind, what };
    let mut decoder = minicbor::Decoder::new(body);
    let value = decoder
        .decode()
        .map_err(|error| malformed(error.to_string()))?;
    if decoder.position() < body.len() {
        return Err(malformed("something follows the map".to_owned()));
    }
    Ok(value)
}
