//! Each call has a span, whose parent is the span of its caller, and faults are events in it.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use session_postgres::{
    AsyncStore, Error, Key, MemoryStore, Offload, OffloadBuilder, PostgresStore, Pruner, Store,
};
use tokio::{runtime::Runtime, task::JoinHandle};
use tracing::{Dispatch, Instrument, dispatcher, info_span};
use tracing_subscriber::filter::LevelFilter;

use super::{kill_connection, kill_connection_with, recorder::Recorded, store_on_one};
use crate::support::{
    database::{Schema, lock},
    wait_until,
    wrapper::{Around, Wrapper},
};

/// Spawns a task with a span of its own.
fn visit<T: Send + 'static>(
    runtime: &Runtime,
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    runtime.spawn(async { task.instrument(info_span!("visit")).await })
}

#[test]
fn a_blocking_call_has_a_span_in_that_of_its_caller() {
    let schema = Schema::new();
    let store = schema.store();
    let (recorded, _guard) = Recorded::here();
    let key = info_span!("visit").in_scope(|| store.generate(None, None).unwrap());
    let (caller, call) = (recorded.span("visit"), recorded.span("session_store"));
    assert_eq!(call.parent, Some(caller.id));
    assert_eq!(call.fields, "method=\"generate\" calls=1 ");

    store.get_many(&[&key, &key]);
    let many = recorded.spans("session_store").pop().unwrap();
    assert_eq!(
        (many.parent, &*many.fields),
        (None, "method=\"get\" calls=2 ")
    );
}

#[test]
fn a_call_of_a_facade_has_a_span_in_that_of_its_caller_and_the_store_has_one_in_it() {
    let schema = Schema::new();
    let store = Offload::new(schema.store());
    let (recorded, runtime) = Recorded::on_runtime();
    let task = async move {
        store.generate(None, None).await.unwrap();
        let ask = |store: &PostgresStore| store.generate(None, None);
        store.run(ask).await.unwrap().unwrap();
    };
    runtime.block_on(visit(&runtime, task)).unwrap();
    let caller = recorded.span("visit");
    let calls = recorded.spans("session_offload");
    let executed = recorded.spans("session_store");
    assert_eq!((calls.len(), executed.len()), (2, 2));
    for (call, executed) in calls.iter().zip(&executed) {
        assert_eq!(call.parent, Some(caller.id));
        assert_eq!(executed.parent, Some(call.id));
    }
    assert_eq!(calls[0].fields, "method=\"generate\" calls=1 ");
    assert_eq!(calls[1].fields, "method=\"run\" calls=1 ");
}

/// The span is made on the task, which may poll on any thread, and not on the thread of the worker.
#[test]
fn each_call_of_a_batch_has_its_own_caller_and_follows_from_the_first() {
    const CALLERS: usize = 5;
    let schema = Schema::new();
    let store = OffloadBuilder::default()
        .max_concurrency(1)
        .build(schema.store());
    let (recorded, runtime) = Recorded::on_runtime();
    let (open, opened) = mpsc::channel();
    let held = {
        let store = store.clone();
        runtime.spawn(async move { store.run(move |_| opened.recv()).await })
    };
    wait_until("the worker is busy", || store.stats().running == 1);
    let key = Key::generate().unwrap();
    let calls: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (store, key) = (store.clone(), key.clone());
            let call = async move { store.find(&key).await };
            visit(&runtime, call)
        })
        .collect();
    wait_until("all wait", || store.stats().waiting == CALLERS);
    open.send(()).unwrap();
    for call in calls {
        assert!(runtime.block_on(call).unwrap().unwrap().is_none());
    }
    runtime.block_on(held).unwrap().unwrap().unwrap();

    let get = "method=\"get\"";
    let calls = recorded.spans("session_offload").into_iter();
    let calls: Vec<_> = calls.filter(|call| call.fields.contains(get)).collect();
    let mut callers: Vec<_> = calls.iter().map(|call| call.parent.unwrap()).collect();
    callers.sort_unstable();
    callers.dedup();
    assert_eq!((calls.len(), callers.len()), (CALLERS, CALLERS));
    let executed = recorded.span("session_store");
    assert_eq!(executed.fields, format!("{get} calls={CALLERS} "));
    let first = executed.parent.unwrap();
    for call in &calls {
        let expected = if call.id == first {
            vec![]
        } else {
            vec![first]
        };
        assert_eq!(call.follows, expected, "{calls:?}");
    }
}

/// Subscribers often want no spans of level debug.
#[test]
fn without_a_span_for_the_call_the_worker_is_in_that_of_the_caller() {
    let schema = Schema::new();
    let store = Offload::new(store_on_one(&schema, schema.builder()));
    let killed = schema.client();
    let (recorded, runtime) = Recorded::on_runtime_from(LevelFilter::INFO);
    let task = async move {
        let key = store.generate(Some("lobster"), None).await.unwrap();
        let kill = |store: &PostgresStore| {
            info_span!("inside").in_scope(|| kill_connection_with(killed, store));
        };
        store.run(kill).await.unwrap();
        store.get(&key).await.unwrap();
    };
    runtime.block_on(visit(&runtime, task)).unwrap();
    assert!(recorded.spans("session_offload").is_empty());
    assert!(recorded.spans("session_store").is_empty());
    let caller = recorded.span("visit");
    assert_eq!(recorded.span("inside").parent, Some(caller.id));
    let broken = recorded.event("a connection broke");
    assert_eq!(broken.span, Some(caller.id));
    assert_ne!(broken.thread, thread::current().id());
    assert!(caller.follows.is_empty());
}

#[test]
fn a_call_that_meets_a_killed_connection_tells_of_it() {
    let schema = Schema::new();
    let store = store_on_one(&schema, schema.builder());
    let key = store.generate(Some("lobster"), None).unwrap();
    kill_connection(&schema, &store);
    let (recorded, _guard) = Recorded::here();
    store.get(&key).unwrap();
    let call = recorded.span("session_store");
    let broken = recorded.event("a connection broke").fields;
    assert!(broken.contains("error=PostgreSQL: "), "{broken}");
    for (text, level) in [
        ("a connection broke", "WARN"),
        ("the attempt failed, and another one follows", "WARN"),
        ("the store uses a new connection", "INFO"),
    ] {
        let event = recorded.event(text);
        assert_eq!(event.span, Some(call.id), "{text}");
        assert!(event.fields.starts_with(level), "{event:?}");
    }
}

#[test]
fn a_cancelled_call_of_a_facade_tells_of_it_in_the_span_of_its_caller() {
    const SHORT: Duration = Duration::from_secs(2);
    let schema = Schema::new();
    // Only the call of the facade is slow.
    let store = store_on_one(&schema, schema.builder().slow_threshold(Duration::MAX));
    let key = store.generate(None, None).unwrap();
    let store = OffloadBuilder::default()
        .timeout(SHORT)
        .slow_threshold(SHORT)
        .build(store);
    let mut holder = schema.client();
    let held = lock(&mut holder, &key);
    let (recorded, runtime) = Recorded::on_runtime();
    let call = async move { store.update(&key, None, |_| None).await };
    let result = runtime.block_on(visit(&runtime, call)).unwrap();
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    drop(held);
    let call = recorded.span("session_offload");
    assert_eq!(call.parent, Some(recorded.span("visit").id));
    let executed = recorded.span("session_store");
    assert_eq!(executed.parent, Some(call.id));
    let cancelled = recorded.event("a cancel request was sent");
    assert_eq!(cancelled.span, Some(executed.id));
    assert_ne!(cancelled.thread, thread::current().id());
    let slow = recorded.event("the call was slow");
    assert_eq!(slow.span, Some(call.id));
}

/// A store that cannot prune. Its calls are recorded on the thread that makes them.
struct Unpruned {
    store: MemoryStore,
    to: Dispatch,
}

impl Around for Unpruned {
    type Inner = MemoryStore;

    fn inner(&self) -> &MemoryStore {
        &self.store
    }

    fn around<T>(
        &self,
        _: &'static str,
        _: &[&Key],
        _: usize,
        _: impl FnOnce(&MemoryStore) -> T,
    ) -> T {
        std::mem::forget(dispatcher::set_default(&self.to));
        panic!("the store cannot do this");
    }
}

#[test]
fn a_failed_pass_of_a_pruner_is_an_event() {
    let recorded = Recorded::default();
    let store = Unpruned {
        store: MemoryStore::new(),
        to: recorded.dispatch(),
    };
    let _pruner = Pruner::start(Arc::new(Wrapper(store)));
    wait_until("the event", || {
        !recorded.events("expired rows were not removed").is_empty()
    });
}

#[test]
fn no_span_and_no_event_shows_a_key_or_a_value() {
    const VALUE: &str = "SecretOfTheLobster";
    let schema = Schema::new();
    let store = store_on_one(&schema, schema.builder().slow_threshold(Duration::ZERO));
    let (recorded, _guard) = Recorded::here();
    let key = store.generate(Some(VALUE), None).unwrap();
    kill_connection(&schema, &store);
    store.get(&key).unwrap();
    store.set(&key, VALUE, None).unwrap();
    store.set_owner(&key, Some("SecretOwner")).unwrap();
    store.owned("SecretOwner").unwrap();
    assert!(store.insert(&key, Some(VALUE), None).is_err());
    schema.run("ALTER TABLE session ADD CHECK (session_data <> 'SecretOfTheLobster') NOT VALID");
    assert!(store.set(&key, VALUE, None).is_err());
    let (spans, events) = &*recorded.0.lock().unwrap();
    let text = format!("{spans:?} {events:?}");
    assert!(spans.len() >= 7 && events.len() >= 7, "{text}");
    for secret in [VALUE, "SecretOwner", key.as_str()] {
        assert!(!text.contains(secret), "{text}");
    }
}
