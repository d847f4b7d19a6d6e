//! Cancel requests for statements that run past their deadline.
//!
//! A thread of the store sleeps until the earliest deadline of a running statement. Nearly always that is
//! the deadline of a call that was answered long ago, so a call costs no wake-up.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use postgres::{CancelToken, Socket, tls::MakeTlsConnect};

use super::dial::Dialer;
use crate::deadline::{self, Deadline, GRACE};

/// How long after a cancel request the next one is sent. The first may have arrived between two statements
/// of a transaction, or not at all.
const AGAIN: Duration = Duration::from_secs(1);

/// The most cancel requests that are being sent at the same time, each by a thread. A server that accepts no
/// connections would get any number of them.
const MAX_SENDERS: usize = 8;

/// How a cancel request is sent: on a connection of its own.
#[derive(Clone)]
pub(crate) enum Cancel {
    /// As the store's own connections are made.
    By(Arc<Dialer>),
    /// As the driver does it.
    With(Arc<dyn Fn(&CancelToken) + Send + Sync>),
}

impl Cancel {
    pub(crate) fn with<T>(tls: T) -> Cancel
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    {
        Cancel::With(Arc::new(move |token| drop(token.cancel_query(tls.clone()))))
    }

    /// Sends a request. Returns whether it is known to be over, so that it hits no later statement.
    fn send(&self, token: &CancelToken) -> bool {
        match self {
            Cancel::By(dialer) => dialer.cancel(token),
            Cancel::With(send) => {
                send(token);
                false
            }
        }
    }

    /// Whether it waits until the server has closed the connection of the request.
    pub(crate) fn waits_for_server(&self) -> bool {
        match self {
            Cancel::By(dialer) => dialer.cancels_patiently(),
            Cancel::With(_) => false,
        }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancel")
    }
}

/// Whether cancel requests were sent for a statement, and whether one may still arrive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cancelled {
    No,
    /// None can arrive any more.
    Over,
    /// One may arrive later, and cancel a later statement.
    Pending,
}

pub(crate) struct Canceller(Arc<Shared>);

struct Shared {
    cancel: Cancel,
    state: Mutex<State>,
    /// A request was sent.
    sent: Condvar,
}

#[derive(Default)]
struct State {
    running: HashMap<u64, Running>,
    begun: u64,
    senders: usize,
    /// The thread, and when it wakes up.
    thread: Option<(Thread, Instant)>,
    is_over: bool,
}

/// A statement on the server.
struct Running {
    token: CancelToken,
    deadline: Deadline,
    /// How many requests were sent, or are being sent.
    requests: u32,
    /// How many of these are known to be over.
    over: u32,
    is_sending: bool,
    /// The earliest time of the next request.
    next: Instant,
}

impl Running {
    fn due(&self) -> Instant {
        self.deadline.end().max(self.next)
    }

    fn cancelled(&self) -> Cancelled {
        match self.requests {
            0 => Cancelled::No,
            all if all == self.over => Cancelled::Over,
            _ => Cancelled::Pending,
        }
    }
}

impl Canceller {
    pub(crate) fn new(cancel: Cancel) -> Canceller {
        Canceller(Arc::new(Shared {
            cancel,
            state: Mutex::default(),
            sent: Condvar::new(),
        }))
    }

    pub(crate) fn waits_for_server(&self) -> bool {
        self.0.cancel.waits_for_server()
    }

    /// Has the statement that is about to be sent cancelled at its deadline.
    pub(crate) fn guard<'a>(&'a self, token: CancelToken, deadline: &'a Deadline) -> Guard<'a> {
        let mut state = self.0.state();
        if state.thread.is_none() {
            let shared = self.0.clone();
            let thread = thread::Builder::new().name("session-postgres".to_owned());
            // Without a thread, the next statement tries again to start it.
            if let Ok(thread) = thread.spawn(move || watch(&shared)) {
                state.thread = Some((thread.thread().clone(), deadline::after(Duration::MAX)));
            }
        }
        if let Some((thread, wakes_at)) = &state.thread {
            deadline.wakes(thread);
            if deadline.end() < *wakes_at {
                thread.unpark();
            }
        }
        state.begun += 1;
        let id = state.begun;
        let running = Running {
            token,
            deadline: deadline.clone(),
            requests: 0,
            over: 0,
            is_sending: false,
            next: Instant::now(),
        };
        state.running.insert(id, running);
        Guard {
            shared: &self.0,
            deadline,
            id,
        }
    }
}

impl Drop for Canceller {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_over = true;
        if let Some((thread, _)) = &state.thread {
            thread.unpark();
        }
    }
}

/// Sends requests for the statements that are due, until the store is dropped.
fn watch(shared: &Arc<Shared>) {
    loop {
        let now = Instant::now();
        let mut state = shared.state();
        if state.is_over {
            return;
        }
        let mut wakes_at = deadline::after(Duration::MAX);
        let State {
            running, senders, ..
        } = &mut *state;
        for (id, running) in running
            .iter_mut()
            .filter(|(_, running)| !running.is_sending)
        {
            let due = running.due();
            if due > now {
                wakes_at = wakes_at.min(due);
            } else if *senders < MAX_SENDERS && send(shared, *id, running.token.clone()) {
                running.is_sending = true;
                running.requests += 1;
                *senders += 1;
            } else {
                wakes_at = wakes_at.min(now + AGAIN);
            }
        }
        if let Some((_, wakes)) = &mut state.thread {
            *wakes = wakes_at;
        }
        drop(state);
        thread::park_timeout(wakes_at.saturating_duration_since(Instant::now()));
    }
}

/// Sends a request on a thread of its own, because a server that does not answer must not delay the requests
/// for others. Returns whether there is such a thread.
fn send(shared: &Arc<Shared>, id: u64, token: CancelToken) -> bool {
    let shared = shared.clone();
    let send = move || {
        // The driver panics if there is no file descriptor left, and the TLS of a user may.
        let sent = catch_unwind(AssertUnwindSafe(|| shared.cancel.send(&token)));
        let is_over = sent.unwrap_or(false);
        let mut state = shared.state();
        state.senders -= 1;
        if let Some(running) = state.running.get_mut(&id) {
            running.is_sending = false;
            running.next = Instant::now() + AGAIN;
            running.over += u32::from(is_over);
        }
        if let Some((thread, _)) = &state.thread {
            thread.unpark();
        }
        shared.sent.notify_all();
    };
    thread::Builder::new().spawn(send).is_ok()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guards a statement until it ends.
pub(crate) struct Guard<'a> {
    shared: &'a Shared,
    deadline: &'a Deadline,
    id: u64,
}

impl Guard<'_> {
    /// Ends the guard. Waits for a request that is being sent, because it may hit the next statement.
    pub(crate) fn end(self) -> Cancelled {
        let until = self.deadline.end() + GRACE;
        let is_sending = |state: &mut State| {
            let running = state.running.get(&self.id);
            running.is_some_and(|running| running.is_sending)
        };
        let (mut state, _) = self
            .shared
            .sent
            .wait_timeout_while(
                self.shared.state(),
                until.saturating_duration_since(Instant::now()),
                is_sending,
            )
            .unwrap_or_else(PoisonError::into_inner);
        let running = state.running.remove(&self.id);
        running.map_or(Cancelled::No, |running| running.cancelled())
    }
}

/// Also if the statement ends in a panic.
impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.shared.state().running.remove(&self.id);
    }
}
