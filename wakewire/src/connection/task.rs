//! A task that comes and goes, and whose end can be awaited by several.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout_at};

/// Holds at most one task.
#[derive(Debug, Default)]
pub(super) struct Task(Mutex<Option<Running>>);

#[derive(Clone, Debug)]
struct Running {
    abort: AbortHandle,
    end: Arc<tokio::sync::Mutex<JoinHandle<()>>>,
}

impl Task {
    /// Starts the next one; the one before must have come to its end, or be about to.
    pub(super) fn start(&self, runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
        let task = runtime.spawn(work);
        *self.0.lock() = Some(Running {
            abort: task.abort_handle(),
            end: Arc::new(tokio::sync::Mutex::new(task)),
        });
    }

    /// Ends it at its next await; works outside of a runtime.
    pub(super) fn abort(&self) {
        if let Some(running) = &*self.0.lock() {
            running.abort.abort();
        }
    }

    /// Waits for its end, not beyond this moment. Returns whether it has come.
    pub(super) async fn ended(&self, deadline: Instant) -> bool {
        let running = self.0.lock().clone();
        let Some(running) = running else {
            return true;
        };
        let end = async {
            let mut task = running.end.lock().await;
            // A task must not be awaited again after its end.
            if !task.is_finished() {
                drop((&mut *task).await);
            }
        };
        timeout_at(deadline, end).await.is_ok()
    }
}
