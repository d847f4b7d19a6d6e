//! The answers of the servers where the session of a call can be.

use super::availability::is_fault_of_server;
use crate::Error;

/// At first, no server has the session.
pub(super) struct Answers<T>(Result<T, Error>);

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Answers(Err(Error::NotFound))
    }
}

impl<T> Answers<T> {
    /// Adds the answer of the next server. Returns whether the session may be on another one.
    pub(super) fn add(&mut self, answer: Result<T, Error>) -> bool {
        let may_be_elsewhere = match &answer {
            Err(Error::NotFound) => true,
            Err(e) => is_fault_of_server(e),
            Ok(_) => false,
        };
        // A server that has failed may have the session, so an absence or a failure of another one does not count. If the
        // effect there is unknown, only a success elsewhere shows that there was none.
        let replaces = match &self.0 {
            Err(Error::NotFound) => true,
            Err(e) if is_effect_unknown(e) => answer.is_ok(),
            _ => !may_be_elsewhere,
        };
        if replaces {
            self.0 = answer;
        }
        may_be_elsewhere
    }

    /// Whether no server has the session.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self.0, Err(Error::NotFound))
    }

    pub(super) fn end(self) -> Result<T, Error> {
        self.0
    }
}

pub(super) fn is_effect_unknown(error: &Error) -> bool {
    matches!(error, Error::Disconnected(_) | Error::StillRunning { .. })
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::DatabaseError;

    fn combined(answers: [Result<(), Error>; 2]) -> Result<(), Error> {
        let mut combined = Answers::default();
        for answer in answers {
            if !combined.add(answer) {
                break;
            }
        }
        combined.end()
    }

    fn timed_out() -> Error {
        super::super::server::timed_out(std::time::Instant::now(), String::new())
    }

    #[test]
    fn a_session_is_absent_only_if_both_servers_say_so() {
        let absent = || Err(Error::NotFound);
        assert!(matches!(
            combined([absent(), absent()]),
            Err(Error::NotFound)
        ));
        assert!(combined([absent(), Ok(())]).is_ok());
        for answers in [[absent(), Err(timed_out())], [Err(timed_out()), absent()]] {
            assert!(matches!(combined(answers), Err(Error::TimedOut { .. })));
        }
    }

    #[test]
    fn an_unknown_effect_is_replaced_only_by_a_success() {
        let unknown = || Err(Error::Disconnected(DatabaseError::new("it broke")));
        for other in [Error::NotFound, timed_out(), Error::Cancelled] {
            let both = combined([unknown(), Err(other)]);
            assert!(matches!(both, Err(Error::Disconnected(_))));
        }
        assert!(combined([unknown(), Ok(())]).is_ok());
    }

    #[test]
    fn a_server_that_has_the_session_is_the_last_to_be_asked() {
        for answer in [Ok(()), Err(Error::NotSet), Err(Error::InvalidValue(""))] {
            let is_ok = answer.is_ok();
            assert_eq!(combined([answer, Err(Error::KeyExists)]).is_ok(), is_ok);
        }
    }
}
