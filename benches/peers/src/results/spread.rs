//! A figure over the rounds.

use std::fmt;

/// In ascending order, and at least one.
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

    /// The lowest and the highest.
    pub(crate) fn range(&self) -> String {
        let (low, high) = self.ends();
        format!("{} to {}", Short(low), Short(high))
    }
}

/// A number with as many digits as tell something.
pub(crate) struct Short(pub(crate) f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Short(number) = *self;
        match number.abs() {
            n if n < 10.0 => f.pad(&format!("{number:.2}")),
            n if n < 100.0 => f.pad(&format!("{number:.1}")),
            _ => f.pad(&thousands(number)),
        }
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
