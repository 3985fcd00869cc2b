//! Which protocol two peers speak: the safest that both can and neither forbids. No I/O, no clock.

use std::fmt;

use minicbor::{Decode, Encode};

/// How bytes travel between two peers; the safest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum ProtocolType {
    /// Encrypted, and the listening side has proved who it is.
    #[n(0)]
    Tls,
    /// In the clear, in order, without loss.
    #[n(1)]
    Tcp,
    /// Datagrams: in the clear, any may be lost. Only for services that are `at_most_once`.
    #[n(2)]
    Udp,
}

impl ProtocolType {
    /// All, the safest first.
    pub const ALL: [Self; 3] = [Self::Tls, Self::Tcp, Self::Udp];

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

impl fmt::Display for ProtocolType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one side can speak: said in the clear before anything else, and said again inside TLS, so that whoever
/// changed it on the way is found out.
///
/// ```
/// use wakewire::{ProtocolNegotiation, ProtocolType::{Tcp, Tls, Udp}};
///
/// let ours = ProtocolNegotiation::offering([Udp, Tcp, Tls]);
/// assert_eq!(ours.choose(&ProtocolNegotiation::offering([Tcp, Udp])), Ok(Tcp));
/// assert!(ours.choose(&ProtocolNegotiation::offering([])).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(map)]
pub struct ProtocolNegotiation {
    #[n(0)]
    #[cbor(decode_with = "read_offered")]
    offered: Vec<ProtocolType>,
}

impl ProtocolNegotiation {
    /// Makes an offer of these.
    pub fn offering(protocols: impl IntoIterator<Item = ProtocolType>) -> Self {
        let mut offered: Vec<_> = protocols.into_iter().collect();
        offered.sort_unstable();
        offered.dedup();
        Self { offered }
    }

    /// Takes out what may not be spoken: anything less safe than `floor`, and datagrams where messages may not
    /// be lost.
    #[must_use]
    pub fn within(mut self, floor: ProtocolType, may_lose: bool) -> Self {
        self.offered
            .retain(|protocol| *protocol <= floor && (may_lose || *protocol != ProtocolType::Udp));
        self
    }

    /// Returns what is offered, the safest first.
    pub fn offered(&self) -> &[ProtocolType] {
        &self.offered
    }

    /// Returns the safest protocol that both offer.
    ///
    /// # Errors
    ///
    /// [`NoCommonProtocol`] with both lists when there is none.
    pub fn choose(&self, other: &Self) -> Result<ProtocolType, NoCommonProtocol> {
        ProtocolType::ALL
            .into_iter()
            .find(|protocol| self.offered.contains(protocol) && other.offered.contains(protocol))
            .ok_or_else(|| NoCommonProtocol {
                ours: self.clone(),
                theirs: other.clone(),
            })
    }
}

/// Reads an offer. Protocols of a later version are passed over: whoever offers them offers older ones too.
fn read_offered<C>(
    d: &mut minicbor::Decoder<'_>,
    _: &mut C,
) -> Result<Vec<ProtocolType>, minicbor::decode::Error> {
    let count = d.array()?.filter(|count| *count <= MOST_OFFERED);
    let count = count.ok_or_else(|| {
        minicbor::decode::Error::message(format!("an offer has at most {MOST_OFFERED} protocols"))
    })?;
    let mut offered = Vec::new();
    for _ in 0..count {
        let number = d.u32()?;
        offered.extend(
            ProtocolType::ALL
                .into_iter()
                .find(|known| *known as u32 == number),
        );
    }
    Ok(ProtocolNegotiation::offering(offered).offered)
}

/// Room for more protocols than there will be, and no more.
const MOST_OFFERED: u64 = 16;

impl fmt::Display for ProtocolNegotiation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.offered.is_empty() {
            return f.write_str("nothing");
        }
        for (index, protocol) in self.offered.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{protocol}")?;
        }
        Ok(())
    }
}

/// Two peers have no protocol in common.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no common protocol: this side speaks {ours}, the peer {theirs}")]
#[non_exhaustive]
pub struct NoCommonProtocol {
    /// What this side offers.
    pub ours: ProtocolNegotiation,
    /// What the peer offers.
    pub theirs: ProtocolNegotiation,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_offer() -> impl Strategy<Value = ProtocolNegotiation> {
        proptest::sample::subsequence(&ProtocolType::ALL[..], 0..=3)
            .prop_shuffle()
            .prop_map(ProtocolNegotiation::offering)
    }

    proptest! {
        /// Both sides choose the same, and nothing safer is common to them.
        #[test]
        fn the_safest_common_protocol_is_chosen(
            ours in any_offer(),
            theirs in any_offer(),
            floor in proptest::sample::select(&ProtocolType::ALL[..]),
            may_lose: bool,
        ) {
            let ours = ours.within(floor, may_lose);
            let has = |offer: &ProtocolNegotiation, protocol| offer.offered().contains(&protocol);
            match (ours.choose(&theirs), theirs.choose(&ours)) {
                (Ok(chosen), Ok(same)) => {
                    prop_assert_eq!(chosen, same);
                    prop_assert!(has(&ours, chosen) && has(&theirs, chosen));
                    prop_assert!(chosen <= floor);
                    prop_assert!(may_lose || chosen != ProtocolType::Udp);
                    for safer in ProtocolType::ALL.into_iter().filter(|safer| *safer < chosen) {
                        prop_assert!(!has(&ours, safer) || !has(&theirs, safer));
                    }
                }
                (Err(here), Err(there)) => {
                    prop_assert_eq!(&here.ours, &there.theirs);
                    for protocol in ProtocolType::ALL {
                        prop_assert!(!has(&ours, protocol) || !has(&theirs, protocol));
                    }
                    let text = here.to_string();
                    prop_assert!(text.contains(&ours.to_string()));
                    prop_assert!(text.contains(&theirs.to_string()));
                }
                (here, there) => prop_assert!(false, "{here:?}, but {there:?}"),
            }
        }

        #[test]
        fn an_offer_is_read_as_it_was_written(offer in any_offer()) {
            let bytes = minicbor::to_vec(&offer).unwrap();
            let read: ProtocolNegotiation = minicbor::decode(&bytes).unwrap();
            prop_assert_eq!(read, offer);
        }
    }

    fn read(protocols: &[u32]) -> Result<ProtocolNegotiation, minicbor::decode::Error> {
        let mut bytes = vec![0xa1, 0];
        minicbor::encode(protocols, &mut bytes).unwrap();
        minicbor::decode(&bytes)
    }

    #[test]
    fn protocols_of_a_later_version_are_passed_over() {
        let known = ProtocolNegotiation::offering([ProtocolType::Tls, ProtocolType::Tcp]);
        assert_eq!(read(&[9, 1, 3, 0, 1, u32::MAX]).unwrap(), known);
        assert_eq!(read(&[77]).unwrap(), ProtocolNegotiation::offering([]));
    }

    #[test]
    fn an_offer_is_bounded() {
        assert!(read(&[1; 16]).is_ok());
        assert!(read(&[1; 17]).is_err());
        // An array without a length.
        assert!(minicbor::decode::<ProtocolNegotiation>(&[0xa1, 0, 0x9f, 0, 0xff]).is_err());
    }

    #[test]
    fn an_offer_is_told_by_names_the_safest_first() {
        let offer = ProtocolNegotiation::offering([ProtocolType::Udp, ProtocolType::Tls]);
        assert_eq!(offer.to_string(), "TLS, UDP");
        assert_eq!(ProtocolNegotiation::offering([]).to_string(), "nothing");
    }
}
