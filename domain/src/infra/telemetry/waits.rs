//! How long somebody waits for a connection. The pool tells nobody but the log: what it writes there at level trace is read here.

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::infra::metrics;

/// Where sqlx says how long it took.
const TARGET: &str = "sqlx::pool::acquire";

/// Whether an event tells of a wait, short or not.
pub(super) fn is_wait(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET && *metadata.level() == Level::TRACE
}

/// Measures waits.
pub(super) struct Waits;

impl<S: Subscriber> Layer<S> for Waits {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Seconds);
    }
}

struct Seconds;

impl Visit for Seconds {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "acquired_after_secs" {
            metrics::connection_acquired(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
