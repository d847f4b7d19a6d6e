//! Records spans and events.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, LazyLock, Mutex},
    thread::{self, ThreadId},
};

use tokio::runtime::{Builder, Runtime};
use tracing::{
    Dispatch, Subscriber,
    dispatcher::{self, DefaultGuard},
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::LevelFilter,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: &'static str,
    pub(super) fields: String,
    /// The spans that it follows from.
    pub(super) follows: Vec<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    /// The span in which it happened.
    pub(super) span: Option<u64>,
    pub(super) fields: String,
    pub(super) thread: ThreadId,
}

/// Records spans and events.
#[derive(Clone, Default)]
pub(super) struct Recorded(pub(super) Arc<Mutex<(Vec<Span>, Vec<Event>)>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorded {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = String::new();
        attributes.record(&mut Text(&mut fields));
        let parent = context
            .span(id)
            .and_then(|span| Some(span.parent()?.id().into_u64()));
        self.0.lock().unwrap().0.push(Span {
            id: id.into_u64(),
            parent,
            name: attributes.metadata().name(),
            fields,
            follows: Vec::new(),
        });
    }

    fn on_follows_from(&self, span: &Id, follows: &Id, _: Context<'_, S>) {
        let mut recorded = self.0.lock().unwrap();
        let mut spans = recorded.0.iter_mut();
        let span = spans.rfind(|other| other.id == span.into_u64());
        span.unwrap().follows.push(follows.into_u64());
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let mut fields = format!("{} ", event.metadata().level());
        event.record(&mut Text(&mut fields));
        self.0.lock().unwrap().1.push(Event {
            span: context.event_span(event).map(|span| span.id().into_u64()),
            fields,
            thread: thread::current().id(),
        });
    }
}

impl Recorded {
    pub(super) fn dispatch(&self) -> Dispatch {
        self.dispatch_from(LevelFilter::TRACE)
    }

    pub(super) fn dispatch_from(&self, level: LevelFilter) -> Dispatch {
        // If there is only one subscriber, tracing asks that of the thread which first comes to a span whether it is
        // wanted. That can be the thread of a test without a subscriber.
        static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Registry::default()));
        LazyLock::force(&ANOTHER);
        Dispatch::new(Registry::default().with(level).with(self.clone()))
    }

    /// Records what this thread does.
    pub(super) fn here() -> (Recorded, DefaultGuard) {
        let recorded = Recorded::default();
        let guard = dispatcher::set_default(&recorded.dispatch());
        (recorded, guard)
    }

    /// Records what the threads of a runtime do.
    pub(super) fn on_runtime() -> (Recorded, Runtime) {
        Recorded::on_runtime_from(LevelFilter::TRACE)
    }

    pub(super) fn on_runtime_from(level: LevelFilter) -> (Recorded, Runtime) {
        let recorded = Recorded::default();
        let dispatch = recorded.dispatch_from(level);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            // The guard stays on its thread until the thread ends.
            .on_thread_start(move || std::mem::forget(dispatcher::set_default(&dispatch)))
            .build()
            .unwrap();
        (recorded, runtime)
    }

    pub(super) fn spans(&self, name: &str) -> Vec<Span> {
        let recorded = self.0.lock().unwrap();
        let spans = recorded.0.iter().filter(|span| span.name == name);
        spans.cloned().collect()
    }

    /// Returns the only span with this name.
    pub(super) fn span(&self, name: &str) -> Span {
        let spans = self.spans(name);
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans[0].clone()
    }

    /// Returns the events whose text contains this one.
    pub(super) fn events(&self, text: &str) -> Vec<Event> {
        let recorded = self.0.lock().unwrap();
        let events = recorded
            .1
            .iter()
            .filter(|event| event.fields.contains(text));
        events.cloned().collect()
    }

    /// Returns the only event whose text contains this one.
    pub(super) fn event(&self, text: &str) -> Event {
        let events = self.events(text);
        assert_eq!(events.len(), 1, "{text}: {:?}", self.0.lock().unwrap().1);
        events[0].clone()
    }
}
