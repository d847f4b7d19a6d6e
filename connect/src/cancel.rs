//! Cancel requests for statements that run past their deadline.
//!
//! A thread sleeps until the earliest deadline of a running statement. Nearly always that is the deadline of a
//! statement that was answered long ago, so a statement causes no wake-up.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use postgres::{CancelToken, Socket, tls::MakeTlsConnect};

use crate::{connector::Connector, deadline::Deadline};

/// How long after a cancel request the next one is sent. The first may have arrived between two statements
/// of a transaction, or not at all.
const AGAIN: Duration = Duration::from_secs(1);

/// The most cancel requests that are being sent at the same time, each by a thread. A server that accepts no
/// connections would get any number of them.
const MAX_SENDERS: usize = 8;

/// Sends cancel requests for statements that are still running at their deadline.
///
/// One thread, `postgres-cancel`, waits for the deadlines of all guarded statements. It starts with the first
/// statement and ends when the canceller is dropped. Each request has a connection of its own, as the protocol
/// demands. At most 8 requests are sent at the same time.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use postgres_connect::{Cancelled, Canceller, ConnectOptions, Connector, Deadline};
///
/// let connector = Connector::new(&ConnectOptions::new())?;
/// let canceller = Canceller::new(connector.clone());
/// let mut client = connector.connect()?;
///
/// let deadline = Deadline::within(Duration::from_secs(2));
/// let guard = canceller.guard(client.cancel_token(), &deadline);
/// let answered = deadline.scope(|| client.batch_execute("SELECT pg_sleep(10)"));
/// if guard.end() == Cancelled::Pending {
///     // A cancel request may still arrive and cancel the next statement.
///     client.close().ok();
/// }
/// assert!(answered.is_err());
/// # Ok::<(), postgres_connect::Error>(())
/// ```
pub struct Canceller(Arc<Shared>);

/// How a cancel request is sent.
enum Method {
    ByConnector(Connector),
    ByDriver(Box<dyn Fn(&CancelToken) + Send + Sync>),
}

impl Method {
    /// Sends a request. Returns whether it is known to be over, so that it cannot cancel a later statement.
    fn send(&self, token: &CancelToken) -> bool {
        match self {
            Method::ByConnector(connector) => connector.cancel(token),
            Method::ByDriver(send) => {
                send(token);
                false
            }
        }
    }
}

/// Whether cancel requests were sent for a statement, and whether one may still arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cancelled {
    /// None was sent.
    No,
    /// At least one was sent. None can arrive any more.
    Over,
    /// One may arrive later and cancel a later statement of the connection.
    Pending,
}

struct Shared {
    method: Method,
    waits_for_server: bool,
    state: Mutex<State>,
    /// A request was sent.
    sent: Condvar,
}

#[derive(Default)]
struct State {
    /// The guarded statements, in the order in which they began.
    running: BTreeMap<u64, Running>,
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
    /// The earliest time of the next request, if one was sent.
    next: Option<Instant>,
}

impl Running {
    fn due(&self) -> Instant {
        let end = self.deadline.end();
        self.next.map_or(end, |next| end.max(next))
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
    /// Returns a canceller for statements on connections of this connector.
    pub fn new(connector: Connector) -> Canceller {
        Canceller::with(Method::ByConnector(connector))
    }

    /// Returns a canceller for statements on other connections. `tls` is the TLS of the cancel requests.
    ///
    /// The driver closes the connection of a request before the server has passed the request on, so
    /// [`CancelGuard::end`] returns [`Cancelled::Pending`] after every request. PgBouncer 1.18 crashes on such a
    /// request.
    pub fn by_driver<T>(tls: T) -> Canceller
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    {
        let send = move |token: &CancelToken| drop(token.cancel_query(tls.clone()));
        Canceller::with(Method::ByDriver(Box::new(send)))
    }

    fn with(method: Method) -> Canceller {
        let waits_for_server = match &method {
            Method::ByConnector(connector) => connector.can_wait_for_cancel(),
            Method::ByDriver(_) => false,
        };
        Canceller(Arc::new(Shared {
            method,
            waits_for_server,
            state: Mutex::default(),
            sent: Condvar::new(),
        }))
    }

    /// Returns whether a cancel request waits until the server has closed its connection. Only then is it
    /// known when the request is over, and only then is it safe behind PgBouncer 1.18.
    pub fn waits_for_server(&self) -> bool {
        self.0.waits_for_server
    }

    /// Guards the statement that is sent next: if it still runs at `deadline`, the server gets a cancel
    /// request, and another one each second until the guard ends.
    ///
    /// If the system cannot start the thread of the canceller, the statement is not guarded.
    pub fn guard<'a>(&'a self, token: CancelToken, deadline: &'a Deadline) -> CancelGuard<'a> {
        let shared = &self.0;
        let mut state = shared.state();
        if state.thread.is_none() {
            let shared = shared.clone();
            let thread = thread::Builder::new().name("postgres-cancel".to_owned());
            // If there is no thread, the next statement tries again to start one.
            if let Ok(thread) = thread.spawn(move || watch(&shared)) {
                state.thread = Some((thread.thread().clone(), Instant::now() + Deadline::LONGEST));
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
            next: None,
        };
        state.running.insert(id, running);
        CancelGuard {
            shared,
            deadline,
            id,
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canceller")
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

/// Sends requests for the statements that are due, until the [`Canceller`] is dropped.
fn watch(shared: &Arc<Shared>) {
    loop {
        let now = Instant::now();
        let mut state = shared.state();
        if state.is_over {
            return;
        }
        let mut wakes_at = now + Deadline::LONGEST;
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
        let sent = catch_unwind(AssertUnwindSafe(|| shared.method.send(&token)));
        let is_over = sent.unwrap_or(false);
        let mut state = shared.state();
        state.senders -= 1;
        if let Some(running) = state.running.get_mut(&id) {
            running.is_sending = false;
            running.next = Some(Instant::now() + AGAIN);
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

/// A guard for one statement, returned by [`Canceller::guard`].
///
/// A guard that is dropped without [`end`](Self::end) does not say whether a request may still arrive. Close the
/// connection then.
#[must_use = "a statement is guarded only as long as its guard lives"]
pub struct CancelGuard<'a> {
    shared: &'a Shared,
    deadline: &'a Deadline,
    id: u64,
}

impl CancelGuard<'_> {
    /// Ends the guard when the statement has ended. If a request is being sent, waits for it until
    /// [`Deadline::GRACE`] after the deadline.
    pub fn end(self) -> Cancelled {
        let is_sending = |state: &mut State| {
            let running = state.running.get(&self.id);
            running.is_some_and(|running| running.is_sending)
        };
        let mut state = self.shared.state();
        if is_sending(&mut state) {
            let until = self.deadline.end() + Deadline::GRACE;
            let wait = until.saturating_duration_since(Instant::now());
            let waited = self.shared.sent.wait_timeout_while(state, wait, is_sending);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let running = state.running.remove(&self.id);
        running.map_or(Cancelled::No, |running| running.cancelled())
    }
}

impl fmt::Debug for CancelGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelGuard")
    }
}

/// Also if the statement ends in a panic.
impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        self.shared.state().running.remove(&self.id);
    }
}
