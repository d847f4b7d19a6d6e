//! The parts of the example sites that have nothing to do with sessions.

mod page;
mod server;
mod words;

pub(crate) use self::{page::page, server::Server, words::in_words};
