//! Who may come in now: how many are inside, how many are greeting, how fast they come. No I/O, no clock.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::security::ListenLimits;

/// One connection, from being accepted to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket {
    number: u64,
    address: Option<IpAddr>,
}

/// The counts that a listener keeps.
#[derive(Debug)]
pub(super) struct Turnstile {
    limits: ListenLimits,
    next: u64,
    inside: usize,
    /// Oldest first.
    greeting: VecDeque<Ticket>,
    /// Only those from elsewhere; bounded, since who has many addresses could fill it.
    addresses: HashMap<IpAddr, Account>,
}

/// What is kept of one address.
#[derive(Debug)]
struct Account {
    inside: usize,
    greeting: usize,
    /// Arrivals that are still allowed, as of `seen`.
    arrivals: f64,
    seen: Instant,
    /// When a password was wrong, the last few times.
    wrong: VecDeque<Instant>,
}

/// What is to be done with an arrival.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is heard; the other one, which has waited longest, is dropped for it.
    Hear(Ticket, Option<Ticket>),
    /// Its address has come too often.
    TooFast,
}

/// Why somebody who has greeted does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("{0} connections are open, which is `max_connections`")]
    All(usize),
    #[error("{0} connections are open from this address, which is `max_connections_per_address`")]
    Address(usize),
}

impl Turnstile {
    pub(super) fn new(limits: ListenLimits) -> Self {
        Self {
            limits,
            next: 0,
            inside: 0,
            greeting: VecDeque::new(),
            addresses: HashMap::new(),
        }
    }

    /// Somebody was accepted.
    pub(super) fn arrive(&mut self, from: Option<IpAddr>, now: Instant) -> Verdict {
        let address = from.and_then(counted);
        let mut dropped = None;
        if let Some(address) = address {
            let limits = self.limits;
            let account = self.account(address, now);
            if account.arrivals < 1.0 {
                return Verdict::TooFast;
            }
            account.arrivals -= 1.0;
            if account.greeting >= limits.handshakes_per_address {
                dropped = self.oldest(|ticket| ticket.address == Some(address));
            }
        }
        if dropped.is_none() && self.greeting.len() >= self.limits.handshakes {
            dropped = self.oldest(|_| true);
        }
        let ticket = Ticket {
            number: self.next,
            address,
        };
        self.next += 1;
        self.greeting.push_back(ticket);
        if let Some(account) = self.known(address) {
            account.greeting += 1;
        }
        Verdict::Hear(ticket, dropped)
    }

    /// Somebody has greeted and wants to stay.
    pub(super) fn enter(&mut self, ticket: Ticket) -> Result<(), Full> {
        if self.inside >= self.limits.connections {
            return Err(Full::All(self.inside));
        }
        let most = self.limits.connections_per_address;
        if let Some(account) = self.known(ticket.address) {
            if account.inside >= most {
                return Err(Full::Address(most));
            }
            account.inside += 1;
        }
        self.inside += 1;
        self.gone(ticket);
        Ok(())
    }

    /// Somebody who was greeting is gone, or greets no longer.
    pub(super) fn gone(&mut self, ticket: Ticket) {
        if let Some(at) = self.greeting.iter().position(|one| *one == ticket) {
            self.greeting.remove(at);
            if let Some(account) = self.known(ticket.address) {
                account.greeting -= 1;
            }
        }
    }

    /// Somebody who was inside has left.
    pub(super) fn left(&mut self, ticket: Ticket) {
        self.inside -= 1;
        if let Some(account) = self.known(ticket.address) {
            account.inside -= 1;
        }
    }

    /// Returns whether nobody from there is believed at present, whatever they show.
    pub(super) fn is_locked_out(&mut self, ticket: Ticket, now: Instant) -> bool {
        let Some(account) = self.known(ticket.address) else {
            return false;
        };
        while account
            .wrong
            .front()
            .is_some_and(|at| now.duration_since(*at) >= WRONG_WITHIN)
        {
            account.wrong.pop_front();
        }
        account.wrong.len() >= WRONG_PASSWORDS
    }

    /// A password was wrong.
    pub(super) fn wrong_password(&mut self, ticket: Ticket, now: Instant) {
        if let Some(account) = self.known(ticket.address) {
            account.wrong.truncate(WRONG_PASSWORDS - 1);
            account.wrong.push_back(now);
        }
    }

    /// Takes the one that has been greeting longest out: there is no place for it.
    pub(super) fn drop_oldest(&mut self) -> Option<Ticket> {
        self.oldest(|_| true)
    }

    fn oldest(&mut self, is: impl Fn(&Ticket) -> bool) -> Option<Ticket> {
        let oldest = self.greeting.iter().copied().find(is)?;
        self.gone(oldest);
        Some(oldest)
    }

    fn known(&mut self, address: Option<IpAddr>) -> Option<&mut Account> {
        self.addresses.get_mut(&address?)
    }

    fn account(&mut self, address: IpAddr, now: Instant) -> &mut Account {
        let burst = as_number(self.limits.handshakes_per_address);
        let rate = as_number(self.limits.handshakes_per_second_per_address);
        if self.addresses.len() >= ADDRESSES && !self.addresses.contains_key(&address) {
            // Of those with nobody here the ones go whose burst has grown back; an attacker with more addresses
            // than that is held by what is counted in all.
            self.addresses.retain(|_, account| {
                account.inside + account.greeting > 0
                    || account.arrivals + rate * now.duration_since(account.seen).as_secs_f64()
                        < burst
            });
            if self.addresses.len() >= ADDRESSES {
                self.addresses
                    .retain(|_, account| account.inside + account.greeting > 0);
            }
        }
        let account = self.addresses.entry(address).or_insert_with(|| Account {
            inside: 0,
            greeting: 0,
            arrivals: burst,
            seen: now,
            wrong: VecDeque::new(),
        });
        let grown = rate * now.duration_since(account.seen).as_secs_f64();
        account.arrivals = (account.arrivals + grown).min(burst);
        account.seen = now;
        account
    }
}

/// Returns under which address somebody is counted; none for this machine itself. Who has one IPv6 address has its
/// whole /64 (RFC 6177).
fn counted(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(IpAddr::V4(address)),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            Some(IpAddr::V6(Ipv6Addr::from_bits(network)))
        }
    }
}

/// As precise as a limit needs.
fn as_number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// So many wrong passwords …
const WRONG_PASSWORDS: usize = 5;

/// … in so long, and nobody is believed from there until the first of them is older.
const WRONG_WITHIN: Duration = Duration::from_secs(60);

/// Addresses that are kept in mind.
const ADDRESSES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ListenLimits = ListenLimits {
        connections: 5,
        connections_per_address: 3,
        handshakes: 6,
        handshakes_per_address: 4,
        handshakes_per_second_per_address: 2,
        inbound_bytes: 1 << 20,
    };

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn hear(
        turnstile: &mut Turnstile,
        from: Option<IpAddr>,
        now: Instant,
    ) -> (Ticket, Option<Ticket>) {
        match turnstile.arrive(from, now) {
            Verdict::Hear(ticket, dropped) => (ticket, dropped),
            Verdict::TooFast => panic!("too fast"),
        }
    }

    #[test]
    fn beyond_the_limit_of_greetings_the_oldest_is_dropped_and_nobody_is_kept_out() {
        let (mut turnstile, now) = (Turnstile::new(LIMITS), Instant::now());
        let first: Vec<_> = (0..6)
            .map(|last| hear(&mut turnstile, address(last), now))
            .collect();
        assert!(
            first.iter().all(|(_, dropped)| dropped.is_none()),
            "at the limit"
        );
        let (_, dropped) = hear(&mut turnstile, address(9), now);
        assert_eq!(dropped, Some(first[0].0), "one past it");
        assert_eq!(hear(&mut turnstile, None, now).1, Some(first[1].0));
    }

    #[test]
    fn one_address_drops_its_own_oldest_greeting() {
        let (mut turnstile, now) = (Turnstile::new(LIMITS), Instant::now());
        let (other, _) = hear(&mut turnstile, address(1), now);
        let own: Vec<_> = (0..4)
            .map(|_| hear(&mut turnstile, address(2), now).0)
            .collect();
        let later = now + Duration::from_secs(1);
        assert_eq!(hear(&mut turnstile, address(2), later).1, Some(own[0]));
        assert!(turnstile.greeting.contains(&other));
    }

    #[test]
    fn arrivals_of_one_address_are_a_burst_and_then_a_rate() {
        let (mut turnstile, now) = (Turnstile::new(LIMITS), Instant::now());
        for _ in 0..4 {
            hear(&mut turnstile, address(1), now);
        }
        assert_eq!(turnstile.arrive(address(1), now), Verdict::TooFast);
        hear(&mut turnstile, address(2), now);
        let half = now + Duration::from_millis(500);
        hear(&mut turnstile, address(1), half);
        assert_eq!(turnstile.arrive(address(1), half), Verdict::TooFast);
        let much_later = now + Duration::from_secs(3600);
        for _ in 0..4 {
            hear(&mut turnstile, address(1), much_later);
        }
        assert_eq!(
            turnstile.arrive(address(1), much_later),
            Verdict::TooFast,
            "a burst, not an hour's"
        );
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address_and_leave_room_when_they_end() {
        let (mut turnstile, now) = (Turnstile::new(LIMITS), Instant::now());
        let come = |turnstile: &mut Turnstile, from| {
            let (ticket, _) = hear(turnstile, from, now);
            let entered = turnstile.enter(ticket);
            turnstile.gone(ticket);
            entered.map(|()| ticket)
        };
        let inside: Vec<_> = (0..3)
            .map(|_| come(&mut turnstile, address(1)).unwrap())
            .collect();
        assert_eq!(come(&mut turnstile, address(1)), Err(Full::Address(3)));
        come(&mut turnstile, address(2)).unwrap();
        come(&mut turnstile, None).unwrap();
        assert_eq!(come(&mut turnstile, None), Err(Full::All(5)));
        assert_eq!(come(&mut turnstile, address(2)), Err(Full::All(5)));
        turnstile.left(inside[0]);
        come(&mut turnstile, address(2)).unwrap();
        assert!(turnstile.greeting.is_empty());
    }

    #[test]
    fn this_machine_has_no_limit_by_address() {
        let (mut turnstile, now) = (Turnstile::new(LIMITS), Instant::now());
        let loopback = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"];
        for from in loopback
            .map(|text| text.parse().ok())
            .into_iter()
            .chain([None])
        {
            for _ in 0..100 {
                let (ticket, _) = hear(&mut turnstile, from, now);
                turnstile.wrong_password(ticket, now);
                assert!(!turnstile.is_locked_out(ticket, now));
            }
        }
        assert!(turnstile.addresses.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| counted(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    }

    #[test]
    fn five_wrong_passwords_in_a_minute_lock_an_address_out() {
        let (mut turnstile, now) = (Turnstile::new(LIMITS), Instant::now());
        let (ticket, _) = hear(&mut turnstile, address(1), now);
        let (other, _) = hear(&mut turnstile, address(2), now);
        for second in 0..5 {
            let now = now + Duration::from_secs(second);
            assert!(!turnstile.is_locked_out(ticket, now), "at the limit");
            turnstile.wrong_password(ticket, now);
        }
        let at = |second| now + Duration::from_secs(second);
        assert!(turnstile.is_locked_out(ticket, at(5)), "one past it");
        assert!(!turnstile.is_locked_out(other, at(5)));
        assert!(turnstile.is_locked_out(ticket, at(59)));
        assert!(!turnstile.is_locked_out(ticket, at(60)));
    }

    #[test]
    fn many_addresses_fill_no_memory() {
        let (mut turnstile, now) = (Turnstile::new(LIMITS), Instant::now());
        for number in 0..200_000_u32 {
            let from = IpAddr::from(number.wrapping_add(0x0a00_0000).to_be_bytes());
            hear(&mut turnstile, Some(from), now);
        }
        assert!(turnstile.addresses.len() <= ADDRESSES);
        assert_eq!(turnstile.greeting.len(), LIMITS.handshakes);
    }
}
