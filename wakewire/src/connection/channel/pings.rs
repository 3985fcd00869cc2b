//! Who asked whether the peer is there, until its answer.

use tokio::sync::oneshot;

/// Questions that are not answered yet, by number.
#[derive(Debug, Default)]
pub(super) struct Pings(Vec<(u64, oneshot::Sender<()>)>);

impl Pings {
    /// Adds a question; its answer is told there.
    pub(super) fn ask(&mut self, number: u64) -> oneshot::Receiver<()> {
        self.0.retain(|(_, tell)| !tell.is_closed());
        let (tell, told) = oneshot::channel();
        self.0.push((number, tell));
        told
    }

    /// The peer answers this question and all before it; returns whether anybody asked.
    pub(super) fn answered(&mut self, number: u64) -> bool {
        let waiting = self.0.len();
        for (_, tell) in self.0.extract_if(.., |(asked, _)| *asked <= number) {
            // Whoever asked may have gone.
            tell.send(()).ok();
        }
        self.0.len() < waiting
    }

    /// No answer comes any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
