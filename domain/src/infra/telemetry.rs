//! Logs: lines on standard error, each with the spans it was written in, so that the ids of a request or a job stand on it.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use super::config::{Log, LogFormat};

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

/// Sets logs up for the whole process, once.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let lines =
        tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(&log.filter)?).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines.with_ansi(false).finish().try_init()?,
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(true).finish().try_init()?;
        }
    }
    Ok(())
}
