//! Numbers as the tables and charts show them.

use std::fmt;

/// Shows three significant digits, or all digits of the integer part.
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
