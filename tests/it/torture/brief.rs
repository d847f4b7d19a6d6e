//! Sessions that live briefly: once one is over, it stays so.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use session_postgres::{
    Key, Period,
    postgres::{self, Client},
};

/// How long a session lives after each write.
pub(super) const LIFE: Period = Period::milliseconds(200);

/// The table rounds dates, and clocks need not run alike.
const GRAIN: Duration = Duration::from_millis(20);

/// A session that is made once, and that no call ends.
pub(super) struct Brief {
    pub(super) key: Key,
    seen: Mutex<Vec<Seen>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Written,
    Present,
    Absent,
}

/// What a call found, and when it began and had ended.
#[derive(Clone, Copy, Debug)]
struct Seen {
    state: State,
    began: Instant,
    ended: Instant,
}

/// A call that is under way.
pub(super) struct Sight<'a> {
    brief: &'a Brief,
    began: Instant,
}

impl Sight<'_> {
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
        self.brief.seen.lock().unwrap().push(Seen {
            state,
            began: self.began,
            ended: Instant::now(),
        });
    }
}

impl Brief {
    /// A new session; `make` puts it in the store, with a period of [`LIFE`].
    pub(super) fn new<E>(make: impl FnOnce(&Key) -> Result<(), E>) -> Result<Brief, E> {
        let brief = Brief {
            key: Key::generate().unwrap(),
            seen: Mutex::default(),
        };
        let sight = brief.begin();
        make(&brief.key)?;
        sight.written();
        Ok(brief)
    }

    /// The same, in PostgreSQL.
    pub(super) fn stored(client: &mut Client) -> Result<Brief, postgres::Error> {
        let sql = "INSERT INTO session (session_key, expire_date, session_data) \
                   VALUES ($1, clock_timestamp() + $2 * interval '1 ms', '0')";
        let life = LIFE.as_seconds_f64() * 1000.0;
        Brief::new(|key| client.execute(sql, &[&key.as_str(), &life]).map(drop))
    }

    /// A call on the session begins.
    pub(super) fn begin(&self) -> Sight<'_> {
        Sight {
            brief: self,
            began: Instant::now(),
        }
    }

    /// Whether the session was never revived, and never over too early.
    pub(super) fn check(&self) -> Result<(), String> {
        check(&self.seen.lock().unwrap())
    }
}

fn check(seen: &[Seen]) -> Result<(), String> {
    for over in seen.iter().filter(|seen| seen.state == State::Absent) {
        for other in seen {
            let life = LIFE.unsigned_abs() - GRAIN;
            let is_early = other.state == State::Written
                && other.ended < over.began
                && over.ended < other.began + life;
            let is_revived = other.state != State::Absent && other.began > over.ended;
            if is_early || is_revived {
                let what = if is_early {
                    "over too early"
                } else {
                    "revived"
                };
                return Err(format!("a session was {what}: {other:?}, {over:?}"));
            }
        }
    }
    Ok(())
}

/// A session that was written at 0 ms, and then seen so from and to these milliseconds.
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
fn a_brief_life_may_end_in_time() {
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
fn a_brief_life_ends_once_and_not_too_early() {
    use State::{Absent, Present, Written};
    assert!(!is_possible(&[(Absent, 1, 150)]));
    assert!(!is_possible(&[(Written, 100, 200), (Absent, 201, 270)]));
    assert!(!is_possible(&[(Absent, 301, 302), (Present, 303, 304)]));
    assert!(!is_possible(&[(Absent, 301, 302), (Written, 303, 304)]));
}
