//! A part of a task, which is polled only when it was woken itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::atomic::{AtomicBool, Ordering::SeqCst};
use crate::brief_lock::BriefLock;

/// One of several futures in a task, polled only when it was woken itself. A connection reads, writes and watches in one
/// task; to ask all of these for the one that has something to do costs more than what it does for a message that
/// comes alone, since each that waits says anew whom to wake.
#[derive(Debug)]
pub(crate) struct Part<F> {
    future: F,
    /// The task that polled last, as the bell knows it.
    task: Waker,
    bell: Arc<Bell>,
    /// The bell, for the future.
    waker: Waker,
}

/// What the future rings instead of its task's own waker.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: BriefLock<Waker>,
}

impl<F> Part<F> {
    pub(crate) fn new(future: F) -> Self {
        let bell = Arc::new(Bell {
            rung: AtomicBool::new(true),
            task: BriefLock::new(Waker::noop().clone()),
        });
        Self {
            future,
            task: Waker::noop().clone(),
            waker: Arc::clone(&bell).into(),
            bell,
        }
    }
}

impl<F: Future + Unpin> Future for Part<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let part = &mut *self;
        if !part.task.will_wake(cx.waker()) {
            part.task.clone_from(cx.waker());
            part.bell.task.lock().clone_from(cx.waker());
        }
        // After the bell knows the task: who rings before this is seen here, who rings later wakes it. A plain load
        // first, since for most parts it is not their turn.
        if part.bell.rung.load(SeqCst) && part.bell.rung.swap(false, SeqCst) {
            Pin::new(&mut part.future).poll(&mut Context::from_waker(&part.waker))
        } else {
            Poll::Pending
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Who finds it rung need not ring: whoever did so first wakes the task after it.
        if !self.rung.swap(true, SeqCst) {
            self.task.lock().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// Waits for ever; counts how often it was asked, and shows whom to wake.
    async fn wait(asked: &AtomicUsize, waker: &Mutex<Option<Waker>>) {
        poll_fn(|cx| -> Poll<()> {
            asked.fetch_add(1, SeqCst);
            *waker.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn a_part_is_asked_at_first_and_then_each_time_that_it_was_woken() {
        let (asked, waker) = (AtomicUsize::new(0), Mutex::new(None));
        let mut part = Part::new(Box::pin(wait(&asked, &waker)));
        let task = Arc::new(Task::default());
        let told = Waker::from(Arc::clone(&task));
        let mut poll = || {
            let polled = Pin::new(&mut part).poll(&mut Context::from_waker(&told));
            assert!(polled.is_pending());
            asked.load(SeqCst)
        };
        assert_eq!([poll(), poll(), poll()], [1, 1, 1]);
        let bell = waker.lock().unwrap().clone().unwrap();
        bell.wake_by_ref();
        bell.wake_by_ref();
        assert_eq!(task.0.load(SeqCst), 1, "once for both");
        assert_eq!([poll(), poll()], [2, 2]);
        bell.wake();
        assert_eq!(task.0.load(SeqCst), 2);
        assert_eq!(poll(), 3);
    }

    #[test]
    fn it_wakes_the_task_that_polled_it_last() {
        let (asked, waker) = (AtomicUsize::new(0), Mutex::new(None));
        let mut part = Part::new(Box::pin(wait(&asked, &waker)));
        let tasks = [(); 2].map(|()| Arc::new(Task::default()));
        for task in &tasks {
            let told = Waker::from(Arc::clone(task));
            let polled = Pin::new(&mut part).poll(&mut Context::from_waker(&told));
            assert!(polled.is_pending());
        }
        assert_eq!(asked.load(SeqCst), 1, "to move it is not its turn");
        waker.lock().unwrap().clone().unwrap().wake();
        assert_eq!(tasks.map(|task| task.0.load(SeqCst)), [0, 1]);
    }

    #[tokio::test]
    async fn what_wakes_itself_is_asked_again() {
        let mut left = 1000;
        let busy = poll_fn(|cx| {
            left -= 1;
            cx.waker().wake_by_ref();
            if left == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        Part::new(busy).await;
    }

    /// Each tells the other, a thousand times, while a third one waits for nothing.
    #[tokio::test]
    async fn parts_of_one_task_wake_each_other() {
        let (ping, pong) = (Notify::new(), Notify::new());
        let first = pin!(async {
            for _ in 0..1000 {
                ping.notify_one();
                pong.notified().await;
            }
        });
        let second = pin!(async {
            loop {
                ping.notified().await;
                pong.notify_one();
            }
        });
        tokio::select! {
            () = Part::new(first) => {}
            never = Part::new(second) => never,
            () = Part::new(std::future::pending()) => {}
        }
    }
}
