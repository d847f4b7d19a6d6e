//! Sessions that expire soon. An expired session must stay absent.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use session_postgres::{
    Key, Period,
    postgres::{self, Client},
};

/// The period of each write.
pub(super) const LIFE: Period = Period::milliseconds(200);

/// The tolerance, because the table rounds dates and because clocks differ.
const TOLERANCE: Duration = Duration::from_millis(20);

/// A session that is created once and that no call ends.
pub(super) struct ShortLived {
    pub(super) key: Key,
    seen: Mutex<Vec<Seen>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Written,
    Present,
    Absent,
}

/// The session's state according to a call, and when the call began and ended.
#[derive(Clone, Copy, Debug)]
struct Seen {
    state: State,
    began: Instant,
    ended: Instant,
}

/// A call that is running.
pub(super) struct Observation<'a> {
    short_lived: &'a ShortLived,
    began: Instant,
}

impl Observation<'_> {
    pub(super) fn written(self) {
        self.saw(State::Written);
    }

    pub(super) fn present(self) {
        self.saw(State::Present);
    }

    pub(super) fn absent(self) {
        self.saw(State::Absent);
    }

    fn saw(self, state: State) {
        self.short_lived.seen.lock().unwrap().push(Seen {
            state,
            began: self.began,
            ended: Instant::now(),
        });
    }
}

impl ShortLived {
    /// A new session. `make` puts it into the store with a period of [`LIFE`].
    pub(super) fn new<E>(make: impl FnOnce(&Key) -> Result<(), E>) -> Result<ShortLived, E> {
        let short_lived = ShortLived {
            key: Key::generate().unwrap(),
            seen: Mutex::default(),
        };
        let observation = short_lived.begin();
        make(&short_lived.key)?;
        observation.written();
        Ok(short_lived)
    }

    /// A new session, added to the table without the store.
    pub(super) fn stored(client: &mut Client) -> Result<ShortLived, postgres::Error> {
        let sql = "INSERT INTO session (session_key, expire_date, session_data) \
                   VALUES ($1, clock_timestamp() + $2 * interval '1 ms', '0')";
        let life = LIFE.as_seconds_f64() * 1000.0;
        ShortLived::new(|key| client.execute(sql, &[&key.as_str(), &life]).map(drop))
    }

    /// Called when a call on the session begins.
    pub(super) fn begin(&self) -> Observation<'_> {
        Observation {
            short_lived: self,
            began: Instant::now(),
        }
    }

    /// Fails if the session was revived, or if it expired too early.
    pub(super) fn check(&self) -> Result<(), String> {
        check(&self.seen.lock().unwrap())
    }
}

fn check(seen: &[Seen]) -> Result<(), String> {
    for over in seen.iter().filter(|seen| seen.state == State::Absent) {
        for other in seen {
            let life = LIFE.unsigned_abs() - TOLERANCE;
            let is_early = other.state == State::Written
                && other.ended < over.began
                && over.ended < other.began + life;
            let is_revived = other.state != State::Absent && other.began > over.ended;
            if is_early || is_revived {
                let what = if is_early {
                    "absent too early"
                } else {
                    "revived"
                };
                return Err(format!("a session was {what}: {other:?}, {over:?}"));
            }
        }
    }
    Ok(())
}

/// Whether the check accepts these states of a session that was written at 0 ms. Each has the start and
/// the end of its call in milliseconds.
fn is_possible(calls: &[(State, u64, u64)]) -> bool {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let seen = |&(state, began, ended)| Seen {
        state,
        began: at(began),
        ended: at(ended),
    };
    let written = [(State::Written, 0, 0)];
    let seen: Vec<_> = written.iter().chain(calls).map(seen).collect();
    check(&seen).is_ok()
}

#[test]
fn the_check_accepts_a_session_that_expires_on_time() {
    use State::{Absent, Present, Written};
    assert!(is_possible(&[
        (Present, 1, 250),
        (Written, 100, 500),
        (Absent, 390, 400),
        (Present, 399, 401),
        (Absent, 600, 601),
    ]));
}

#[test]
fn the_check_refuses_a_session_that_expires_early_or_is_revived() {
    use State::{Absent, Present, Written};
    assert!(!is_possible(&[(Absent, 1, 150)]));
    assert!(!is_possible(&[(Written, 100, 200), (Absent, 201, 270)]));
    assert!(!is_possible(&[(Absent, 301, 302), (Present, 303, 304)]));
    assert!(!is_possible(&[(Absent, 301, 302), (Written, 303, 304)]));
}
