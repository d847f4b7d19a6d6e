//! What is said between the program and the process of a peer: a line of JSON each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{measure::Figures, plan::Verb};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Make a table of so many sessions of this size.
    Fill {
        sessions: usize,
        value_bytes: usize,
    },
    /// Remove what is dead in the table.
    Vacuum,
    /// Change each page of the table. The first change after a checkpoint puts the whole page into the
    /// write-ahead log; who makes more calls would pay for that in fewer of them.
    Touch,
    Run(Run),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) verb: Verb,
    pub(crate) callers: usize,
    pub(crate) length: Duration,
    /// The same for all peers: so are the sessions that callers choose.
    pub(crate) seed: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    /// Nothing, where the peer has no such verb.
    Ran(Option<Figures>),
    Failed(String),
}
