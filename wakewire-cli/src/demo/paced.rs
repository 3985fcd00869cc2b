//! The two runs: one with time to kill, one as fast as it goes.

use std::time::Duration;

use super::ledger::Ledger;
use super::play::Play;
use crate::said::Said;
use crate::send::now;

/// Sends over some seconds, starts everything in the wrong order, and kills the relay every second.
pub(super) async fn run(play: &mut Play<'_>) -> Result<Ledger, Said> {
    play.start_sender()?;
    play.until(|play| play.scene.sent.waiting > 0).await?;
    play.start_consumers()?;
    play.until(|play| play.present == [true; 2]).await?;
    // Nobody answers yet: the outbox is seen filling.
    let late = now() + LATE;
    play.until(|_| now() >= late).await?;
    play.start_relay()?;

    let mut next = now() + EVERY;
    let mut is_missed = false;
    while !play.scene.sent.done {
        play.step(next).await?;
        let is_sending = play.scene.sent.accepted < play.scene.total;
        if is_sending && now() >= next {
            next = now() + EVERY;
            play.scene.kills.total += 1;
            if kill(play, is_missed).await? {
                play.scene.kills.loaded += 1;
                is_missed = false;
            } else {
                // Between the report and the kill everything was acknowledged: the next one is made sure of.
                is_missed = true;
                next = now() + AGAIN;
            }
            let down = now() + DOWN;
            play.until(|_| now() >= down).await?;
            play.start_relay()?;
        }
    }
    let kills = play.scene.kills;
    play.finish(Some(kills)).await
}

/// Sends as fast as it goes, with everybody there before.
pub(super) async fn fast(play: &mut Play<'_>) -> Result<Ledger, Said> {
    play.start_relay()?;
    play.start_consumers()?;
    play.until(|play| play.scene.received.iter().all(|one| one.connects > 0))
        .await?;
    play.start_sender()?;
    play.until(|play| play.scene.sent.done).await?;
    play.finish(None).await
}

/// Kills the relay while messages are unacknowledged; returns whether that is certain.
///
/// The sender says before the kill what it has accepted, and once it has noticed the kill what was
/// acknowledged: acknowledgements cannot come after that. If less was acknowledged than had been accepted
/// before, the difference was unacknowledged when the relay died.
async fn kill(play: &mut Play<'_>, for_sure: bool) -> Result<bool, Said> {
    let freeze_at = now()
        + if for_sure {
            Duration::ZERO
        } else {
            CATCH_WITHIN
        };
    let mut is_frozen = false;
    loop {
        fresh_report(play).await?;
        // A relay that hangs before it dies surely has the next message in hand: for when there are few of
        // them, each acknowledged in a millisecond.
        let sent = &play.scene.sent;
        if sent.connected && now() >= freeze_at && !is_frozen {
            is_frozen = true;
            let frozen = play.relay.as_ref().map_or(Ok(()), |relay| relay.freeze());
            frozen.map_err(|error| play.broken(&error))?;
            // What it had sent before may still be on its way.
            let settled = now() + SETTLED;
            play.until(|_| now() >= settled).await?;
            continue;
        }
        if (sent.connected && sent.waiting > 0) || sent.accepted >= play.scene.total {
            break;
        }
    }
    let accepted = play.scene.sent.accepted;
    play.kill_relay().await?;
    loop {
        fresh_report(play).await?;
        if !play.scene.sent.connected {
            return Ok(accepted > play.scene.sent.delivered);
        }
    }
}

/// Waits for what the sender says now. One report may be under way; the one after it was made after asking.
async fn fresh_report(play: &mut Play<'_>) -> Result<(), Said> {
    let known = play.reports;
    if let Some(sender) = &mut play.sender
        && let Err(error) = sender.ask().await
    {
        // It has ended, which is heard of below.
        tracing::debug!(%error, "the sender cannot be asked");
    }
    play.until(|play| play.reports > known || play.scene.sent.done)
        .await
}

/// How often the relay is killed.
const EVERY: Duration = Duration::from_millis(1000);
/// How soon after a kill that hit nothing.
const AGAIN: Duration = Duration::from_millis(300);
/// How long acknowledgements that were sent take to arrive.
const SETTLED: Duration = Duration::from_millis(5);
/// How long the relay is away.
const DOWN: Duration = Duration::from_millis(150);
/// How long the consumers wait for the relay at first.
const LATE: Duration = Duration::from_millis(500);
/// How long a moment with something unacknowledged is waited for.
const CATCH_WITHIN: Duration = Duration::from_millis(200);
