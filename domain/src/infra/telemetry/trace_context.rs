//! Which trace something belongs to (W3C Trace Context, `traceparent`), and how it gets from a request to its jobs.
//!
//! `tracestate` is not carried: nothing here needs it, and its text is anybody's.

use std::fmt;
use std::str::FromStr;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The trace and the span that something belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext(SpanContext);

/// Not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of version 00")]
pub struct NoTraceContext;

impl FromStr for TraceContext {
    type Err = NoTraceContext;

    /// Reads version 00 to the letter; anything else is refused.
    fn from_str(text: &str) -> Result<Self, NoTraceContext> {
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text.splitn(5, '-');
        let mut part =
            |length: usize| parts.next().filter(|part| part.len() == length && is_hex(part)).ok_or(NoTraceContext);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version != "00" || parts.next().is_some() {
            return Err(NoTraceContext);
        }
        let trace = TraceId::from_hex(trace).map_err(|_| NoTraceContext)?;
        let span = SpanId::from_hex(span).map_err(|_| NoTraceContext)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoTraceContext)?;
        let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
        let context = SpanContext::new(trace, span, flags, true, TraceState::default());
        if context.is_valid() { Ok(Self(context)) } else { Err(NoTraceContext) }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = self.0.trace_flags().to_u8();
        write!(f, "00-{}-{}-{flags:02x}", self.0.trace_id(), self.0.span_id())
    }
}

/// Where the running code stands; `None` when nothing is traced.
pub fn current() -> Option<TraceContext> {
    let context = Span::current().context();
    let context = context.span().span_context().clone();
    context.is_valid().then_some(TraceContext(context))
}

/// Makes a span, which nobody has entered yet, the child of another one. A `parent` that cannot be read is none.
pub fn continue_from(span: &Span, parent: Option<&str>) {
    if let Some(TraceContext(parent)) = parent.and_then(|parent| parent.parse().ok()) {
        // Fails where nothing is traced.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Says that a span has to do with another one, without belonging to its trace.
pub fn link_to(span: &Span, other: Option<&str>) {
    if let Some(TraceContext(other)) = other.and_then(|other| other.parse().ok()) {
        span.add_link(other);
    }
}

/// Notes something on the trace's side of a span only: the log says it elsewhere.
pub fn attribute(span: &Span, key: &'static str, value: impl Into<opentelemetry::Value>) {
    span.set_attribute(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        assert_eq!(PARENT.parse::<TraceContext>().unwrap().to_string(), PARENT);
        // Flags that this version does not know are not passed on.
        let other = PARENT.replace("-01", "-fe").parse::<TraceContext>().unwrap();
        assert_eq!(other.to_string(), PARENT.replace("-01", "-00"));
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "00",
            "----",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e47+6-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-0",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(NoTraceContext), "{text}");
        }
    }

    #[test]
    fn without_a_collector_nothing_is_traced() {
        let span = tracing::error_span!("x");
        continue_from(&span, Some(PARENT));
        link_to(&span, Some(PARENT));
        assert_eq!(span.in_scope(current), None);
    }
}
