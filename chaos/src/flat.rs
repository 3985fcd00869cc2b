//! Whether a process has as much memory, and as many descriptors and tasks, in the end as in the beginning.
//! No I/O, no clock.

use serde::Serialize;

/// What a process had at one moment, at full load and with nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Since the run began.
    pub(crate) seconds: f64,
    pub(crate) rss_kib: u64,
    pub(crate) descriptors: u64,
    pub(crate) tasks: u64,
}

/// How one of the three developed over a run, without its warm-up.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Trend {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) most: u64,
    /// Of the straight line through all samples.
    pub(crate) slope_per_minute: f64,
    /// Of that line, from end to end.
    pub(crate) growth: f64,
    /// What the most is above the most of the warm-up; below zero if it is not.
    pub(crate) above_warm_up: f64,
    /// What is borne of it.
    pub(crate) allowed: f64,
    pub(crate) is_flat: bool,
}

/// All three.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Flatness {
    pub(crate) samples: usize,
    pub(crate) rss_kib: Trend,
    pub(crate) descriptors: Trend,
    pub(crate) tasks: Trend,
}

impl Flatness {
    /// Judges a process by its samples, of which the first third is warm-up; none if there are too few.
    pub(crate) fn of(samples: &[Sample]) -> Option<Self> {
        let (warm_up, samples) = samples.split_at_checked(samples.len() / 3)?;
        if samples.len() < FEWEST {
            return None;
        }
        let trend = |of: fn(&Sample) -> u64, allowed: f64| Trend::of(warm_up, samples, of, allowed);
        let largest = samples.iter().map(|sample| sample.rss_kib).max()?;
        Some(Self {
            samples: samples.len(),
            rss_kib: trend(|sample| sample.rss_kib, RSS_KIB + real(largest) * RSS_SHARE)?,
            descriptors: trend(|sample| sample.descriptors, DESCRIPTORS)?,
            tasks: trend(|sample| sample.tasks, TASKS)?,
        })
    }

    /// Says what grew, if anything.
    pub(crate) fn faults(&self) -> Vec<String> {
        let all = [
            ("KiB of memory", &self.rss_kib),
            ("descriptors", &self.descriptors),
            ("tasks", &self.tasks),
        ];
        let grew = all.into_iter().filter(|(_, trend)| !trend.is_flat);
        grew.map(|(what, trend)| {
            format!(
                "{what} grew by {:.0} from {} to {}, and to {:.0} more than in the warm-up, where {:.0} are borne",
                trend.growth, trend.first, trend.last, trend.above_warm_up, trend.allowed
            )
        })
        .collect()
    }
}

impl Trend {
    /// Both have to rise: what leaks rises above all that was before, and a line alone also rises where the few
    /// samples of a short run happen to begin low.
    fn of(
        warm_up: &[Sample],
        samples: &[Sample],
        of: fn(&Sample) -> u64,
        allowed: f64,
    ) -> Option<Self> {
        let (first, last) = (samples.first()?, samples.last()?);
        let count = real(samples.len() as u64);
        let mean_x = samples.iter().map(|sample| sample.seconds).sum::<f64>() / count;
        let mean_y = samples.iter().map(|sample| real(of(sample))).sum::<f64>() / count;
        let (mut above, mut below) = (0.0, 0.0);
        for sample in samples {
            let x = sample.seconds - mean_x;
            above += x * (real(of(sample)) - mean_y);
            below += x * x;
        }
        let slope = if below > 0.0 { above / below } else { 0.0 };
        let growth = slope * (last.seconds - first.seconds);
        let most = samples.iter().map(of).max()?;
        let above_warm_up = real(most) - real(warm_up.iter().map(of).max().unwrap_or(0));
        Some(Self {
            first: of(first),
            last: of(last),
            most,
            slope_per_minute: slope * 60.0,
            growth,
            above_warm_up,
            allowed,
            is_flat: growth.min(above_warm_up) <= allowed,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is counted here is far below 2^53"
)]
const fn real(number: u64) -> f64 {
    number as f64
}

/// Memory moves with how full buffers happen to be, by a few MiB each way.
const RSS_KIB: f64 = 4096.0;
const RSS_SHARE: f64 = 0.1;
/// A connection that is being replaced, an address that is being looked up.
const DESCRIPTORS: f64 = 2.0;
const TASKS: f64 = 4.0;
/// Below it a line says nothing.
const FEWEST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample every ten seconds.
    fn samples(of: impl Fn(u64) -> (u64, u64, u64)) -> Vec<Sample> {
        (0..30)
            .map(|n| {
                let (rss_kib, descriptors, tasks) = of(n);
                Sample {
                    seconds: real(n) * 10.0,
                    rss_kib,
                    descriptors,
                    tasks,
                }
            })
            .collect()
    }

    fn faults(of: impl Fn(u64) -> (u64, u64, u64)) -> Vec<String> {
        Flatness::of(&samples(of)).unwrap().faults()
    }

    #[test]
    fn what_moves_up_and_down_is_flat() {
        let none: Vec<String> = Vec::new();
        assert_eq!(faults(|n| (20_000 + n % 3 * 2000, 12 + n % 2, 9)), none);
        // A warm-up is no leak.
        assert_eq!(faults(|n| (if n < 8 { 5000 } else { 25_000 }, 12, 9)), none);
        assert_eq!(faults(|n| (40_000 - n * 500, 40 - n, 40 - n)), none);
    }

    #[test]
    fn what_grows_is_found() {
        let leak = faults(|n| (20_000 + n * 500, 12, 9));
        assert!(leak.len() == 1 && leak[0].contains("memory"), "{leak:?}");
        let leak = faults(|n| (20_000, 12 + n / 4, 9));
        assert!(
            leak.len() == 1 && leak[0].contains("descriptors"),
            "{leak:?}"
        );
        let leak = faults(|n| (20_000, 12, 9 + n / 2));
        assert!(leak.len() == 1 && leak[0].contains("tasks"), "{leak:?}");
    }

    /// A relay's memory in MiB, of a run that took it for a leak.
    #[test]
    fn what_began_low_is_flat_while_it_stays_below_its_warm_up() {
        let relay = [25.3, 24.0, 18.0, 23.3, 25.4, 23.7];
        let samples = |mib_per_second: f64| -> Vec<Sample> {
            let at = [6.0, 11.0, 17.0, 38.0, 43.0, 48.0];
            let all = at.into_iter().zip(relay);
            all.map(|(seconds, mib)| Sample {
                seconds,
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "some MiB"
                )]
                rss_kib: ((mib + seconds * mib_per_second) * 1024.0) as u64,
                descriptors: 15,
                tasks: 5,
            })
            .collect()
        };
        let flat = Flatness::of(&samples(0.0)).unwrap();
        assert!(flat.rss_kib.growth > 4096.0, "{flat:?}");
        assert_eq!(flat.faults(), Vec::<String>::new());
        let grown = Flatness::of(&samples(0.25)).unwrap().faults();
        assert!(grown.len() == 1, "{grown:?}");
    }

    #[test]
    fn too_few_samples_prove_nothing() {
        let few = samples(|_| (1, 1, 1));
        assert!(Flatness::of(&few[..3]).is_none());
        assert!(Flatness::of(&few[..4]).is_some());
        assert!(Flatness::of(&[]).is_none());
    }
}
