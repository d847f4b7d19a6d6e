//! The time of a round trip on the network.

use std::{fmt, str::FromStr, time::Duration};

use anyhow::{Context, Error, Result, ensure};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Rtt {
    micros: u32,
}

impl Rtt {
    /// No delay, and no proxy.
    pub(crate) const NONE: Rtt = Rtt { micros: 0 };

    pub(crate) const fn of_micros(micros: u32) -> Rtt {
        Rtt { micros }
    }

    pub(crate) fn is_none(self) -> bool {
        self == Rtt::NONE
    }

    pub(crate) fn length(self) -> Duration {
        Duration::from_micros(self.micros.into())
    }

    /// For sorting: the shortest delay first, and no delay last, because it is the least usual.
    pub(crate) fn rank(self) -> (bool, u32) {
        (self.is_none(), self.micros)
    }
}

/// Reads milliseconds.
impl FromStr for Rtt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rtt> {
        let millis: f64 = text.parse().context("not a number of milliseconds")?;
        ensure!(
            (0.0..=1_000.0).contains(&millis),
            "not between 0 and 1,000 milliseconds"
        );
        Ok(Rtt {
            micros: (millis * 1e3).round() as u32,
        })
    }
}

impl fmt::Display for Rtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} ms", f64::from(self.micros) / 1e3))
    }
}
