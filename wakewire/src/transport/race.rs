//! Which of a host's addresses to use: all are raced, each a little after the one before (RFC 8305).

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::sleep;

use crate::endpoint::Authority;

/// Resolves a name anew; the addresses are in the order in which to try them.
pub(super) async fn resolve(authority: &Authority) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<SocketAddr> = lookup_host((authority.host.as_str(), authority.port))
        .await?
        .collect();
    if addresses.is_empty() {
        let text = format!("`{}` has no address", authority.host);
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(interleaved(addresses))
}

/// Lets the two families alternate, beginning with the one that the resolver prefers: if one of them leads nowhere,
/// the second attempt already avoids it.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut others = others.into_iter();
    let mut order = Vec::new();
    for address in preferred {
        order.push(address);
        order.extend(others.next());
    }
    order.extend(others);
    order
}

/// Tries the addresses in order; the next attempt starts when one has failed, or after 250 ms. The first that
/// succeeds wins, the others are dropped.
///
/// # Errors
///
/// All failed: each address with its cause.
///
/// # Cancel safety
///
/// Dropped early, all attempts are dropped.
pub(super) async fn race<A, T, F>(
    addresses: Vec<A>,
    attempt: impl Fn(A) -> F,
) -> Result<T, io::Error>
where
    A: Copy + fmt::Display,
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.into_iter();
    let mut running: Vec<(A, Pin<Box<F>>)> = Vec::new();
    let mut failed = Vec::new();
    loop {
        match waiting.next() {
            Some(address) => running.push((address, Box::pin(attempt(address)))),
            None if running.is_empty() => return Err(all_failed(failed)),
            None => {}
        }
        tokio::select! {
            (address, ended) = first_to_end(&mut running) => match ended {
                Ok(won) => return Ok(won),
                Err(error) => failed.push((address, error)),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

/// Waits until one of these ends, and takes it out.
async fn first_to_end<A: Copy, T, F>(running: &mut Vec<(A, Pin<Box<F>>)>) -> (A, io::Result<T>)
where
    F: Future<Output = io::Result<T>>,
{
    poll_fn(|cx| {
        for (index, (address, attempt)) in running.iter_mut().enumerate() {
            if let Poll::Ready(ended) = attempt.as_mut().poll(cx) {
                let address = *address;
                drop(running.remove(index));
                return Poll::Ready((address, ended));
            }
        }
        Poll::Pending
    })
    .await
}

/// "Refused" says most of what to do, so it stands for all when there is one.
fn all_failed<A: fmt::Display>(failed: Vec<(A, io::Error)>) -> io::Error {
    let refused = failed
        .iter()
        .map(|(_, error)| error.kind())
        .find(|&kind| kind == io::ErrorKind::ConnectionRefused);
    let first = failed.first().map(|(_, error)| error.kind());
    let causes: Vec<_> = failed
        .iter()
        .map(|(address, error)| format!("{address}: {error}"))
        .collect();
    io::Error::new(
        refused.or(first).unwrap_or(io::ErrorKind::NotFound),
        causes.join("; "),
    )
}

/// RFC 8305 §5, "Connection Attempt Delay".
const STAGGER: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use tokio::time::Instant;

    /// What an address does: after so many ms it answers or refuses; nothing is for ever.
    type Script = BTreeMap<u8, (Option<u64>, bool)>;

    /// Races these under a paused clock; returns the outcome, when each attempt began and when all was over.
    async fn run(script: Script) -> (io::Result<u8>, Vec<(u8, u64)>, u64) {
        let start = Instant::now();
        let elapsed = || u64::try_from(start.elapsed().as_millis()).unwrap();
        let begun = Mutex::new(Vec::new());
        let addresses = script.keys().copied().collect();
        let won = race(addresses, |address| {
            begun.lock().push((address, elapsed()));
            let (after, answers) = script[&address];
            async move {
                match after {
                    None => std::future::pending().await,
                    Some(ms) => sleep(Duration::from_millis(ms)).await,
                }
                if answers {
                    Ok(address)
                } else {
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
            }
        })
        .await;
        (won, begun.into_inner(), elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_address_costs_250_ms_and_no_more() {
        let script = Script::from([(1, (None, true)), (2, (Some(0), true))]);
        let (won, begun, elapsed) = run(script).await;
        assert_eq!(won.unwrap(), 2);
        assert_eq!(begun, [(1, 0), (2, 250)]);
        assert!((250..260).contains(&elapsed), "{elapsed} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_address_costs_nothing() {
        let script = Script::from([(1, (Some(0), false)), (2, (Some(0), true))]);
        let (won, begun, elapsed) = run(script).await;
        assert_eq!(won.unwrap(), 2);
        assert!(begun[1].1 < 10 && elapsed < 10, "{begun:?}, {elapsed} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_address_still_wins_if_the_others_are_slower() {
        let script = Script::from([
            (1, (Some(400), true)),
            (2, (None, true)),
            (3, (Some(1), true)),
        ]);
        let (won, begun, _) = run(script).await;
        assert_eq!(won.unwrap(), 1);
        assert_eq!(begun, [(1, 0), (2, 250)], "nobody after the winner");
    }

    #[tokio::test(start_paused = true)]
    async fn if_all_fail_each_is_listed_with_its_cause() {
        let script = Script::from([(1, (Some(600), false)), (2, (Some(5), false))]);
        let (won, begun, _) = run(script).await;
        let error = won.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            error.to_string(),
            "2: connection refused; 1: connection refused"
        );
        assert_eq!(begun.len(), 2);
    }

    #[test]
    fn families_alternate_and_the_preferred_one_begins() {
        let all = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let order = interleaved(all(&[
            "[::1]:1",
            "[::2]:1",
            "1.1.1.1:1",
            "2.2.2.2:1",
            "3.3.3.3:1",
        ]));
        let alternating = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "3.3.3.3:1"];
        assert_eq!(order, all(&alternating));
        let order = interleaved(all(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]));
        assert_eq!(order, all(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]));
    }
}
