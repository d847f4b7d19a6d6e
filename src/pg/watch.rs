//! Cancels on the server what runs past its deadline, so that its connection comes back.
//!
//! A thread of the store's own sleeps until the first deadline there is. That is nearly always the
//! deadline of a call that was answered long ago, so a call costs no waking.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use postgres::{CancelToken, Client, Socket, tls::MakeTlsConnect};

use crate::{connect::Dialer, deadline};

/// How long after one cancelling the next is tried: the first may come between two statements of a
/// transaction, or not arrive.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a cancelling that is on its way is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Interrupts a cancelling that is still on its way, so that it hits nothing else: it ends as soon as
/// that comes.
const ABSORB: &str = "SELECT pg_sleep(0.5)";

/// How a connection's server is told to cancel: on a connection of its own.
#[derive(Clone)]
pub(super) enum Cancel {
    /// In the way in which the connections were made.
    By(Arc<Dialer>),
    /// In the driver's.
    With(Arc<dyn Fn(&CancelToken) + Send + Sync>),
}

impl Cancel {
    pub(super) fn with<T>(tls: T) -> Cancel
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    {
        // A server that cannot be reached is tried again later.
        Cancel::With(Arc::new(move |token| drop(token.cancel_query(tls.clone()))))
    }

    fn send(&self, token: &CancelToken) {
        match self {
            Cancel::By(dialer) => dialer.cancel(token),
            Cancel::With(send) => send(token),
        }
    }

    fn is_patient(&self) -> bool {
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

pub(super) struct Watch(Arc<Shared>);

struct Shared {
    cancel: Cancel,
    state: Mutex<State>,
    /// Wakes the thread, for a deadline before the one that it sleeps until, and who waits for a
    /// cancelling to be sent.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: HashMap<u64, Running>,
    /// Threads whose work is due at once.
    halted: HashSet<ThreadId>,
    begun: u64,
    /// When the thread wakes up next, where there is one.
    wakes_at: Option<Instant>,
    is_over: bool,
}

/// What may have to be cancelled.
struct Running {
    token: CancelToken,
    thread: ThreadId,
    /// When to cancel it.
    due: Instant,
    cancels: u32,
    /// How many of those are on their way.
    sending: u32,
}

impl Watch {
    pub(super) fn new(cancel: Cancel) -> Watch {
        Watch(Arc::new(Shared {
            cancel,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Whether a request to cancel waits until the server has passed it on.
    pub(super) fn cancels_patiently(&self) -> bool {
        self.0.cancel.is_patient()
    }

    /// Cancels what nobody watches any more, and waits for so long until that is sent.
    pub(super) fn cancel(&self, token: CancelToken, patience: Duration) {
        let shared = self.0.clone();
        let (tell, told) = mpsc::channel::<()>();
        let sent = thread::Builder::new().spawn(move || {
            shared.send(&token);
            drop(tell);
        });
        if sent.is_ok() {
            // Ends when the other end is gone.
            let _ = told.recv_timeout(patience);
        }
    }

    /// Watches over what this client does from now on.
    pub(super) fn begin(&self, client: &Client, due: Instant) -> Watched<'_> {
        let thread = thread::current().id();
        let mut state = self.0.state();
        let due = match state.halted.contains(&thread) {
            true => Instant::now(),
            false => due,
        };
        let running = Running {
            token: client.cancel_token(),
            thread,
            due,
            cancels: 0,
            sending: 0,
        };
        state.begun += 1;
        let id = state.begun;
        state.running.insert(id, running);
        match state.wakes_at {
            Some(wakes_at) if wakes_at <= due => {}
            Some(_) => self.0.changed.notify_all(),
            None => {
                let shared = self.0.clone();
                let name = "session-postgres".to_owned();
                let watcher = thread::Builder::new().name(name);
                // Without a thread, the next call tries again to have one.
                if watcher.spawn(move || watch(&shared)).is_ok() {
                    state.wakes_at = Some(due);
                }
            }
        }
        drop(state);
        Watched {
            shared: &self.0,
            id,
        }
    }
}

/// Cuts short what a thread does through the store, without keeping the store.
#[derive(Clone)]
pub(super) struct Halt(Arc<Shared>);

impl Watch {
    pub(super) fn halt(&self) -> Halt {
        Halt(self.0.clone())
    }
}

impl Halt {
    /// Has cancelled what the thread has on a server, or will have.
    pub(super) fn halt(&self, thread: ThreadId) {
        let mut state = self.0.state();
        state.halted.insert(thread);
        let running = state.running.values_mut();
        running
            .filter(|running| running.thread == thread)
            .for_each(|running| running.due = Instant::now());
        drop(state);
        self.0.changed.notify_all();
    }

    /// There is no such thread any more.
    pub(super) fn forget(&self, thread: ThreadId) {
        self.0.state().halted.remove(&thread);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.changed.notify_all();
    }
}

fn watch(shared: &Arc<Shared>) {
    let mut state = shared.state();
    while !state.is_over {
        let now = Instant::now();
        for (id, running) in &mut state.running {
            if running.due <= now {
                running.due = now + AGAIN;
                let sending = u32::from(shared.cancel(*id, running.token.clone()));
                running.sending += sending;
                running.cancels += sending;
            }
        }
        let next = state.running.values().map(|running| running.due).min();
        let wakes_at = next.unwrap_or_else(deadline::never);
        state.wakes_at = Some(wakes_at);
        let sleep = wakes_at.saturating_duration_since(now);
        (state, _) = shared
            .changed
            .wait_timeout(state, sleep)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half way under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, token: &CancelToken) {
        // The driver panics where no file descriptor is left, and a user's TLS may.
        let _ = catch_unwind(AssertUnwindSafe(|| self.cancel.send(token)));
    }

    /// Cancels on a thread of its own, for a server that does not answer must not hold up the others.
    /// Says whether there is such a thread.
    fn cancel(self: &Arc<Self>, id: u64, token: CancelToken) -> bool {
        let shared = self.clone();
        let send = move || {
            shared.send(&token);
            if let Some(running) = shared.state().running.get_mut(&id) {
                running.sending -= 1;
            }
            shared.changed.notify_all();
        };
        thread::Builder::new().spawn(send).is_ok()
    }

    fn end(&self, id: u64, is_closed: bool) -> Ended {
        let is_on_its_way = |state: &mut State| {
            let running = state.running.get_mut(&id);
            running.is_some_and(|running| {
                running.due = deadline::never();
                running.sending > 0
            })
        };
        let mut state = self.state();
        if !is_closed {
            (state, _) = self
                .changed
                .wait_timeout_while(state, PATIENCE, is_on_its_way)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let is_late = is_on_its_way(&mut state);
        let running = state.running.remove(&id);
        Ended {
            cancels: running.as_ref().map_or(0, |running| running.cancels),
            is_late,
            token: running.map(|running| running.token),
        }
    }
}

/// What came of a watch.
pub(super) struct Ended {
    /// By which what was watched can be cancelled, should it go on.
    pub(super) token: Option<CancelToken>,
    /// How often what was watched was cancelled.
    pub(super) cancels: u32,
    /// Whether one of these is on its way still, and may hit what comes next.
    pub(super) is_late: bool,
}

/// What is watched over, until it ends.
#[must_use = "it is watched until `end`"]
pub(super) struct Watched<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Watched<'_> {
    /// Ends the watch. A cancelling that is on its way is waited for, for it may hit what the connection
    /// does next, if there is a next.
    pub(super) fn end(self, is_closed: bool) -> Ended {
        self.shared.end(self.id, is_closed)
    }
}

/// Makes a connection good again that was cancelled so often; `is_hit` tells whether what it did ended
/// in one of those.
pub(super) fn clean(client: &mut Client, cancels: u32, is_hit: bool) {
    if cancels == 0 || client.is_closed() {
        return;
    }
    // What was hit may have been a COMMIT or a ROLLBACK, whose transaction is then open still. What is
    // sent here fails where it does what it is for.
    let _ = client.batch_execute("ROLLBACK");
    if cancels > u32::from(is_hit) {
        let _ = client.batch_execute(ABSORB);
        let _ = client.batch_execute("ROLLBACK");
    }
}
