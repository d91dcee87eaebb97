//! Records everything that `tracing` is told in one test.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard},
};

use tracing::{
    Dispatch, Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

type Fields = BTreeMap<&'static str, String>;

#[derive(Default)]
struct Told {
    spans: Vec<(u64, &'static str, Fields)>,
    /// Each with the span it was told in.
    events: Vec<(Option<u64>, Fields)>,
    /// All of it, for ever.
    texts: Vec<String>,
}

/// What one subscriber was told.
pub(crate) struct Log {
    told: Arc<Mutex<Told>>,
    dispatch: Dispatch,
}

/// The layer that keeps it.
struct Keeper(Arc<Mutex<Told>>);

impl Keeper {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }
}

/// The events of one call.
#[derive(Debug)]
pub(crate) struct Turns(Vec<Fields>);

impl Turns {
    /// A field of the event with this message.
    pub(crate) fn field(&self, message: &str, field: &str) -> &str {
        let mut events = self.0.iter();
        let event = events.find(|fields| fields["message"] == message);
        &event.expect("there is such an event")[field]
    }
}

impl Log {
    /// Listens to this thread until the guard is dropped.
    pub(crate) fn start() -> (Self, DefaultGuard) {
        let told = Arc::<Mutex<Told>>::default();
        let dispatch = Dispatch::new(Registry::default().with(Keeper(told.clone())));
        let log = Self { told, dispatch };
        let guard = log.resume();
        (log, guard)
    }

    /// Listens again.
    pub(crate) fn resume(&self) -> DefaultGuard {
        tracing::dispatcher::set_default(&self.dispatch)
    }

    /// Forgets the spans so far, and tells how many there were.
    pub(crate) fn take_spans(&self) -> usize {
        std::mem::take(&mut self.told().spans).len()
    }

    /// The events since the last look.
    pub(crate) fn take_events(&self) -> Vec<BTreeMap<&'static str, String>> {
        let events = std::mem::take(&mut self.told().events);
        events.into_iter().map(|(_, fields)| fields).collect()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    /// The events' messages, in order.
    pub(crate) fn events(&self) -> Vec<String> {
        let message = |(_, fields): &(Option<u64>, Fields)| fields["message"].clone();
        self.told().events.iter().map(message).collect()
    }

    /// One call took place since the last look: its one span, with these events in it.
    pub(crate) fn call(&self, events: &[&str], outcome: &str) -> Turns {
        assert_eq!(self.events(), events);
        let mut told = self.told();
        let spans = std::mem::take(&mut told.spans);
        let events = std::mem::take(&mut told.events);
        let [(id, "idempotent", fields)] = &spans[..] else {
            panic!("not one span, but {spans:?}");
        };
        assert_eq!(fields["scope"], "tracing.charge");
        assert_eq!(fields["outcome"], outcome);
        let digest = &fields["key_digest"];
        assert_eq!(digest.len(), 16, "{digest}");
        for (span, fields) in &events {
            assert!(
                span.is_none_or(|span| span == *id),
                "{fields:?} is in another span"
            );
            assert!(fields.get("key_digest").is_none_or(|of| of == digest));
        }
        Turns(events.into_iter().map(|(_, fields)| fields).collect())
    }

    /// Nothing that was ever told has `secret` in it.
    pub(crate) fn shows_no(&self, secret: &str) {
        let told = self.told();
        assert!(!told.texts.is_empty(), "nothing was told at all");
        for text in &told.texts {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Keeper {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Reader(&mut fields));
        let mut told = self.told();
        told.texts.push(format!("{fields:?}"));
        let name = attributes.metadata().name();
        told.spans.push((id.into_u64(), name, fields));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::new();
        values.record(&mut Reader(&mut fields));
        let mut told = self.told();
        told.texts.push(format!("{fields:?}"));
        let span = told.spans.iter_mut().find(|span| span.0 == id.into_u64());
        if let Some((_, _, of_span)) = span {
            of_span.extend(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Reader(&mut fields));
        fields.insert("level", event.metadata().level().to_string());
        let span = context.event_span(event).map(|span| span.id().into_u64());
        let mut told = self.told();
        told.texts.push(format!("{fields:?}"));
        told.events.push((span, fields));
    }
}
