//! Logs and traces. Logs are lines on standard error, each with the spans it was written in, so that the ids of a request or a job
//! stand on it. Traces are the same spans, sent to a collector if the environment names one.

mod exporter;
mod settings;
mod trace_context;
mod waits;

use tracing_subscriber::filter::{FilterExt as _, ParseError, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Registry};

pub use self::exporter::Exporter;
pub use self::settings::{Tracing, TracingFault, tracing};
pub use self::trace_context::{TraceContext, attribute, continue_from, current, link_to};
use super::config::{Config, Log, LogFormat};

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("log.filter is wrong: {0}")]
    Filter(#[from] ParseError),
    /// Somebody has set logs up in this process already.
    #[error("logs are set up already: {0}")]
    Again(#[from] TryInitError),
}

/// Sets logs and traces up for the whole process, once. The exporter is to be shut down before the process ends.
pub fn init(config: &Config) -> Result<Exporter, TelemetryError> {
    let tracing = settings::tracing();
    let exporter = match &tracing {
        Ok(Some(tracing)) => Exporter::start(tracing),
        Ok(None) | Err(_) => Exporter::none(),
    };
    let traces = exporter.layer().map(|layer| layer.with_filter(filter_fn(exporter::is_exported)));
    // Only what is looked at is measured.
    let waits = config.metrics.listen.map(|_| waits::Waits.with_filter(filter_fn(waits::is_wait)));
    tracing_subscriber::registry().with(lines(&config.log)?).with(waits).with(traces).try_init()?;
    if let Err(faults) = tracing {
        for fault in faults {
            tracing::warn!(setting = fault.variable, "traces are not exported: {}", fault.message);
        }
    }
    Ok(exporter)
}

/// What writes the log.
fn lines(log: &Log) -> Result<Box<dyn Layer<Registry> + Send + Sync>, ParseError> {
    // What tells of waits is measured, not logged.
    let filter = EnvFilter::try_new(&log.filter)?.and(filter_fn(|metadata| !waits::is_wait(metadata)));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    Ok(match log.format {
        LogFormat::Text => lines.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(true).with_filter(filter).boxed()
        }
    })
}
