//! The answers of the servers where the session of a call can be.

use super::availability::is_fault_of_server;
use crate::{Error, error::DatabaseError};

/// What a call returns if its session is absent.
pub(super) enum IfAbsent<T> {
    /// [`Error::NotFound`].
    Fails,
    /// `Ok` of this.
    Is(fn() -> T),
}

impl<T> Clone for IfAbsent<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for IfAbsent<T> {}

pub(super) struct Answers<T> {
    if_absent: IfAbsent<T>,
    so_far: Option<Result<T, Error>>,
}

impl<T> Answers<T> {
    pub(super) fn new(if_absent: IfAbsent<T>) -> Answers<T> {
        Answers {
            if_absent,
            so_far: None,
        }
    }

    /// Adds the answer of the next server. Returns whether the session may be on another one.
    pub(super) fn add(&mut self, answer: Result<T, Error>) -> bool {
        if let IfAbsent::Is(_) = self.if_absent {
            let is_done = answer.is_ok();
            // An earlier server may have removed the session.
            let may_have_removed = self.so_far.is_some();
            self.so_far = Some(answer.map_err(|e| match may_have_removed {
                true => outcome_unknown(&e),
                false => e,
            }));
            return is_done;
        }
        let may_be_elsewhere = match &answer {
            Err(Error::NotFound) => true,
            Err(e) => is_fault_of_server(e),
            Ok(_) => false,
        };
        // A server that has failed may have the session, so an absence on another one does not count.
        if !may_be_elsewhere || self.is_absent() {
            self.so_far = Some(answer);
        }
        may_be_elsewhere
    }

    /// Whether no server has the session.
    pub(super) fn is_absent(&self) -> bool {
        matches!(
            (&self.so_far, &self.if_absent),
            (None | Some(Err(Error::NotFound)), _) | (Some(Ok(_)), IfAbsent::Is(_))
        )
    }

    pub(super) fn end(self) -> Result<T, Error> {
        self.so_far.unwrap_or_else(|| match self.if_absent {
            IfAbsent::Fails => Err(Error::NotFound),
            IfAbsent::Is(value) => Ok(value()),
        })
    }
}

fn outcome_unknown(error: &Error) -> Error {
    Error::Disconnected(DatabaseError::new(&error.to_string()))
}
