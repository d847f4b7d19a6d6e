//! The messages between the program and the process of a peer. Each is one line of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{figures::Figures, plan::Verb, rtt::Rtt};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Replace the sessions in the peer's table.
    Fill { sessions: usize, value_bytes: usize },
    /// Close the connections of the peer and open new ones.
    Connect(Way),
    /// Vacuum and analyze the table.
    Vacuum,
    /// Change every page of the table and rebuild its indexes. The first change of a page after a checkpoint
    /// writes the whole page to the write-ahead log. Otherwise the calls of a slow peer would bear more of
    /// this cost than those of a fast one.
    Touch,
    /// Measure calls.
    Run(Run),
}

/// The way to the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Way {
    pub(crate) rtt: Rtt,
    pub(crate) url: String,
    /// The process of the proxy, if the way leads through one.
    pub(crate) proxy: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) verb: Verb,
    pub(crate) callers: usize,
    pub(crate) length: Duration,
    /// The same for all peers, so that their callers choose the same sessions.
    pub(crate) seed: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    Done,
    /// `None` if the peer does not have the verb.
    Ran(Option<Figures>),
    Failed(String),
}
