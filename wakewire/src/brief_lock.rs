//! A lock that is taken for each message and held for some nanoseconds.

#[cfg(shuttle)]
pub(crate) use parking_lot::{Mutex as BriefLock, MutexGuard as BriefGuard};

#[cfg(not(shuttle))]
pub(crate) use self::spinning::{BriefGuard, BriefLock};

#[cfg(not(shuttle))]
mod spinning {
    use std::hint::spin_loop;
    use std::thread;
    use std::time::Duration;

    use spin::mutex::{SpinMutex, SpinMutexGuard};

    /// Who lets go of it wakes nobody, so that this is a plain store: of what a `send` costs in a locked operation it
    /// saves half. Who finds it taken looks again after a while, and in the end sleeps in between: whoever has it may have
    /// been put off its processor by one who waits, or be writing to a disk.
    #[derive(Debug)]
    pub(crate) struct BriefLock<T>(SpinMutex<T>);

    pub(crate) type BriefGuard<'a, T> = SpinMutexGuard<'a, T>;

    impl<T> BriefLock<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(SpinMutex::new(value))
        }

        #[inline]
        pub(crate) fn lock(&self) -> BriefGuard<'_, T> {
            self.0.try_lock().unwrap_or_else(|| self.wait())
        }

        #[cold]
        #[expect(
            clippy::disallowed_methods,
            reason = "an event would be what a plain store does not tell"
        )]
        fn wait(&self) -> BriefGuard<'_, T> {
            let mut looks = 0;
            loop {
                match looks {
                    0..SPINS => (0..SPIN).for_each(|_| spin_loop()),
                    SPINS..YIELDS => thread::yield_now(),
                    _ => thread::sleep(PAUSE),
                }
                if let Some(guard) = self.0.try_lock() {
                    return guard;
                }
                looks += u32::from(looks < YIELDS);
            }
        }
    }

    /// Some microseconds, in which who has it sends dozens of messages by himself: senders that look at once take the
    /// lock, and the memory behind it, from each other at each message, and all of them send less.
    const SPIN: u32 = 256;

    const SPINS: u32 = 2;

    /// Whoever has it may want this processor.
    const YIELDS: u32 = SPINS + 3;

    /// A yield lets nobody on who is less urgent. The system makes at least this of any shorter sleep.
    const PAUSE: Duration = Duration::from_micros(50);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn one_has_it_at_a_time_and_all_have_it_in_the_end() {
        const EACH: u64 = 20_000;
        let lock = BriefLock::new((0_u64, 0_u64));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let mut both = lock.lock();
                        let before = both.0;
                        both.1 += 1;
                        both.0 = before + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (4 * EACH, 4 * EACH));
    }

    #[test]
    fn who_waits_gets_it_though_nobody_wakes_him() {
        let lock = BriefLock::new(1);
        let (got, gets) = mpsc::channel();
        thread::scope(|scope| {
            let held = lock.lock();
            let waiting = scope.spawn(|| {
                got.send(None).unwrap();
                got.send(Some(*lock.lock())).unwrap();
            });
            assert_eq!(gets.recv().unwrap(), None);
            assert!(gets.try_recv().is_err(), "it is taken");
            drop(held);
            assert_eq!(gets.recv().unwrap(), Some(1));
            waiting.join().unwrap();
        });
    }
}
