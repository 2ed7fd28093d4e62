//! The SQL statements that requests run, as the driver tells them to `tracing`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// The statements of some requests.
type List = Arc<Mutex<Vec<String>>>;

/// Listens on this thread as long as it lives: to all requests, not to the worker. One for each test: a span that closes takes its
/// parent for one of whoever listens by then, and panics when another does.
pub(crate) struct Statements {
    now: Arc<Mutex<List>>,
    _guard: DefaultGuard,
}

impl Statements {
    pub(crate) fn listen() -> Self {
        let now = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Listener(Arc::clone(&now)));
        Self { now, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Those of requests since the last call, in order. What a request does after this is not of the ones that follow.
    pub(crate) fn take(&self) -> Vec<String> {
        let list = std::mem::take(&mut *locked(&self.now));
        std::mem::take(&mut *locked(&list))
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Listener(Arc<Mutex<List>>);

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Listener {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if attributes.metadata().name() == "request"
            && let Some(span) = ctx.span(id)
        {
            span.extensions_mut().insert(Arc::clone(&locked(&self.0)));
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let list = ctx
            .event_scope(event)
            .and_then(|mut scope| scope.find_map(|span| span.extensions().get::<List>().cloned()));
        if let Some(list) = list {
            let mut statement = Statement::default();
            event.record(&mut statement);
            let text = statement.text();
            // A new connection of the pool, whoever needs it first.
            if !text.starts_with("SET ROLE ") {
                locked(&list).push(text);
            }
        }
    }
}

/// The driver gives the first words, and the whole only when they are not all of it.
#[derive(Default)]
struct Statement {
    summary: String,
    whole: String,
}

impl Statement {
    fn text(self) -> String {
        let text = if self.whole.trim().is_empty() { self.summary } else { self.whole };
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
