//! A figure over the rounds.

use super::number::Short;

/// The values of all rounds, in ascending order. There is at least one.
#[derive(Debug, Clone)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(mut rounds: Vec<f64>) -> Option<Spread> {
        rounds.sort_by(f64::total_cmp);
        (!rounds.is_empty()).then_some(Spread(rounds))
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() % 2 {
            0 => (self.0[middle - 1] + self.0[middle]) / 2.0,
            _ => self.0[middle],
        }
    }

    fn ends(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }

    /// Shows the lowest and the highest value.
    pub(crate) fn range(&self) -> String {
        let (low, high) = self.ends();
        format!("{} to {}", Short(low), Short(high))
    }
}
