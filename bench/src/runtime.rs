//! The two tokio runtimes that contestants run on.

use anyhow::Result;
use tokio::runtime::Builder;

/// Which runtime.
#[derive(Clone, Copy, Debug)]
pub enum Flavor {
    /// Everything on one thread.
    CurrentThread,
    /// Two workers.
    MultiThread,
}

impl Flavor {
    /// Runs this future to its end as a task, so that on two workers it is on a worker and not beside them.
    pub fn run<T: Send + 'static>(
        self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let mut builder = match self {
            Self::CurrentThread => Builder::new_current_thread(),
            Self::MultiThread => Builder::new_multi_thread(),
        };
        if let Self::MultiThread = self {
            builder.worker_threads(2);
        }
        let runtime = builder.enable_all().build()?;
        runtime.block_on(async { tokio::spawn(future).await? })
    }
}
