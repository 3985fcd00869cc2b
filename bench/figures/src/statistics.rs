//! Medians, percentiles, and how sure a median is.

/// Values in order.
#[derive(Clone, Debug)]
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    pub(crate) fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        assert!(!values.is_empty(), "nothing was measured");
        Self(values)
    }

    pub(crate) fn median(&self) -> f64 {
        let (middle, len) = (self.0.len() / 2, self.0.len());
        if len % 2 == 1 {
            self.0[middle]
        } else {
            f64::midpoint(self.0[middle - 1], self.0[middle])
        }
    }

    /// The smallest value that this share of them does not exceed.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    /// Between which values the true median lies with at least 95 % confidence, whatever the distribution: as many
    /// values are left out on each side as fewer heads in as many throws of a coin have a chance below 2.5 %.
    pub(crate) fn median_interval(&self) -> (f64, f64) {
        let throws = self.0.len();
        let mut chance = 0.5_f64.powi(throws as i32);
        let (mut sum, mut heads) = (chance, 0);
        while sum < 0.025 && heads + 1 < throws {
            chance *= (throws - heads) as f64 / (heads + 1) as f64;
            heads += 1;
            sum += chance;
        }
        let left_out = heads.saturating_sub(1);
        (self.0[left_out], self.0[throws - 1 - left_out])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_31_values_the_10th_and_the_22nd() {
        let values = Sorted::new((1..=31).map(f64::from));
        assert_eq!(values.median(), 16.0);
        assert_eq!(values.median_interval(), (10.0, 22.0));
        assert_eq!(Sorted::new((1..=100).map(f64::from)).percentile(0.99), 99.0);
    }
}
