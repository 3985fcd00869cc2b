//! A source that goes on where an earlier life of it was.

use std::sync::Arc;

use super::{Current, MessageSource};
use crate::cursor::{Cursor, MARK_BYTES, Mark, Position};
use crate::error::{Failure, SinkError};

impl MessageSource {
    /// Goes on where this cursor is, and writes it before anything is acknowledged: what was asked past, or
    /// [acknowledged](crate::Delivered::ack), does not come again, in this life or another. It takes the place of the one that
    /// `cursor = "FILE"` says. Without effect on what was received before.
    ///
    /// It costs one system call, a write of 64 bytes to a file, for each call of [`recv`](Self::recv) or
    /// [`recv_batch`](Self::recv_batch): for a message, or for a whole batch, which is the way at full speed.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory).unwrap();
    /// # let (path, file) = (directory.join("cursor.sock"), directory.join("orders.cursor"));
    /// # drop(std::fs::remove_file(&file));
    /// use wakewire::{Cursor, Message, SinkFactory};
    ///
    /// let text = format!("[services.orders]\ntype = 'direct'\nendpoint = 'unix://{}'", path.display());
    /// let factory = SinkFactory::from_config_str(&text)?;
    /// let sink = factory.create_sink("orders").await?;
    /// for order in ["buy", "sell", "hold"] {
    ///     sink.send(Message::new(order)).await?;
    /// }
    /// let mut source = factory.create_source("orders").await?.with_cursor(Cursor::open(&file)?);
    /// source.recv().await?;
    /// source.recv().await?; // says that "buy" is processed
    /// drop(source); // dies with "sell" in hand
    /// # tokio::task::yield_now().await;
    ///
    /// let mut source = factory.create_source("orders").await?.with_cursor(Cursor::open(&file)?);
    /// assert_eq!(&source.recv().await?.expect("not closed").payload[..], b"sell");
    /// # Ok::<(), SinkError>(())
    /// # }).unwrap();
    /// # use wakewire::SinkError;
    /// ```
    #[must_use]
    pub fn with_cursor(mut self, cursor: Cursor) -> Self {
        let cursor = Arc::new(cursor);
        self.inbox.keep(&cursor);
        self.cursor = Some(cursor);
        self
    }

    /// Goes on after these positions, which the application has stored with its own data, in one transaction: then each
    /// message has its effect exactly once. The greatest position of each session is what counts; see
    /// [`position`](Self::position). Without effect on what was received before.
    #[must_use]
    pub fn starting_after(self, positions: impl IntoIterator<Item = Position>) -> Self {
        self.inbox.restore(positions);
        self
    }

    /// Returns the cursor, if there is one.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_deref()
    }

    /// Returns where the message stands that is in hand: the one that [`recv`](Self::recv) gave last, or the last one of
    /// a batch.
    pub fn position(&self) -> Option<Position> {
        let Current {
            progress, in_hand, ..
        } = self.current.as_ref()?;
        in_hand.map(|sequence| progress.position(sequence))
    }

    /// Has these bytes, 32 at most, written to the cursor in one piece with the position of what is in hand, when the next
    /// message is asked for or the source is closed. With nothing in hand they are written alone, in that call.
    ///
    /// So an effect outside a database can be made to agree with the cursor: write to a file, mark its
    /// length, and ask for more. After a death at any moment, [`Cursor::mark`] says which length belongs to the cursor; what
    /// the file has beyond it will come again, and is cut off.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] when there is no cursor, or there are more bytes.
    pub fn set_mark(&mut self, mark: &[u8]) -> Result<(), SinkError> {
        let failure = || Failure::new(Arc::clone(&self.config.service));
        if self.cursor.is_none() {
            let failure = failure().because("a mark is kept in a cursor, and there is none");
            let hint = "set `cursor` for the service, or use `with_cursor`";
            return Err(SinkError::InvalidConfig(failure.hint(hint)));
        }
        let Some(mark) = Mark::new(mark) else {
            let cause = format!("a mark of {} bytes; {MARK_BYTES} is the most", mark.len());
            return Err(SinkError::InvalidConfig(failure().because(cause)));
        };
        self.mark = Some(mark);
        Ok(())
    }

    /// Says that what is in hand was processed. If that cannot be written it stays in hand.
    #[inline]
    pub(super) fn confirm(&mut self) -> Result<(), SinkError> {
        let written = match &mut self.current {
            Some(Current {
                progress,
                in_hand: Some(sequence),
                ..
            }) => progress.confirm(*sequence, self.mark),
            _ => match (&self.cursor, self.mark) {
                (Some(cursor), Some(mark)) => cursor.set_mark(mark),
                _ => Ok(()),
            },
        };
        if let Some(cursor) = &self.cursor {
            written.map_err(|error| cursor.failure(error))?;
            cursor.kept_fault()?;
        }
        self.mark = None;
        if let Some(current) = &mut self.current {
            current.in_hand = None;
        }
        Ok(())
    }
}
