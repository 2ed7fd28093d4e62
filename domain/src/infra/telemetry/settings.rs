//! Where traces go: the standard `OTEL_…` variables, looked at before the exporter's own look, which ignores what it cannot read.

use std::time::Duration;

use crate::infra::config::address_of_url;

/// Traces are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Where to, with the path.
    pub endpoint: String,
    /// How long the collector may take for a batch.
    pub time_out: Duration,
    /// Whether `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` says how the service is called.
    pub is_named: bool,
}

/// Why traces are not exported although a collector is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracingFault {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong with it. Never its value: headers are secrets.
    pub message: &'static str,
}

/// What the environment says: `None` if no collector is named, or traces are switched off.
///
/// # Errors
/// All faults at once.
pub fn tracing() -> Result<Option<Tracing>, Vec<TracingFault>> {
    read(|name| std::env::var(name).ok())
}

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Tracing>, Vec<TracingFault>> {
    // An empty variable is one that is not set (OpenTelemetry specification, "Environment Variable Specification").
    let value = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let either = |special: &'static str, general: &'static str| {
        value(special).map(|found| (special, found)).or_else(|| value(general).map(|found| (general, found)))
    };
    let is_off = value("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || value("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    let special = value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(|url| ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url));
    let general = value("OTEL_EXPORTER_OTLP_ENDPOINT")
        .map(|url| ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/traces", url.trim_end_matches('/'))));
    let Some((from, endpoint)) = special.or(general).filter(|_| !is_off) else { return Ok(None) };

    let mut faults = Vec::new();
    let mut fault = |variable, message| faults.push(TracingFault { variable, message });
    if address_of_url(&endpoint).is_none() {
        fault(from, "it is not an http or https URL");
    }
    if let Some((name, protocol)) = either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        && protocol != "http/protobuf"
    {
        fault(name, "only http/protobuf is spoken; a collector takes it at port 4318");
    }
    if value("OTEL_TRACES_EXPORTER").is_some_and(|value| value != "otlp") {
        fault("OTEL_TRACES_EXPORTER", "there is only otlp, and none");
    }
    if let Some((name, headers)) = either("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
        && !headers.split(',').all(is_header)
    {
        fault(name, "it is not a list like name=value,other=value");
    }
    if let Some((name, compression)) = either("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")
        && compression != "none"
    {
        fault(name, "nothing is compressed: remove it");
    }
    let sampler = value("OTEL_TRACES_SAMPLER");
    if sampler.as_deref().is_some_and(|sampler| !SAMPLERS.contains(&sampler)) {
        fault("OTEL_TRACES_SAMPLER", "there is no such sampler");
    }
    if sampler.is_some_and(|sampler| sampler.ends_with("traceidratio"))
        && !value("OTEL_TRACES_SAMPLER_ARG")
            .and_then(|ratio| ratio.parse().ok())
            .is_some_and(|ratio| (0.0..=1.0).contains(&ratio))
    {
        fault("OTEL_TRACES_SAMPLER_ARG", "the sampler needs a share between 0 and 1");
    }
    let time_out = either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
    let millis = time_out.as_ref().map_or(Some(10_000), |(_, millis)| millis.parse().ok());
    if millis.is_none() {
        fault("OTEL_EXPORTER_OTLP_TIMEOUT", "it is not a number of milliseconds");
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let is_named = value("OTEL_SERVICE_NAME").is_some()
        || value("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
    Ok(Some(Tracing { endpoint, time_out: Duration::from_millis(millis.unwrap_or_default()), is_named }))
}

fn is_header(pair: &str) -> bool {
    let name = pair.split_once('=').map(|(name, _)| name.trim());
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Tracing>, Vec<&'static str>> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        read(value).map_err(|faults| faults.iter().map(|fault| fault.variable).collect())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_set() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_TRACES_SAMPLER", "nonsense")]), Ok(None));
        assert_eq!(of(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        assert_eq!(of(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
    }

    #[test]
    fn the_endpoint_of_all_signals_gets_a_path_and_that_of_traces_does_not() {
        let endpoint = |variables: &[(&str, &str)]| of(variables).unwrap().unwrap().endpoint;
        assert_eq!(endpoint(&[ENDPOINT]), "http://127.0.0.1:4318/v1/traces");
        let special = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://otel.example/x");
        assert_eq!(endpoint(&[ENDPOINT, special]), "https://otel.example/x");
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let faults = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ]);
        let expected = [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_TRACES_SAMPLER_ARG",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ];
        assert_eq!(faults.unwrap_err(), expected);
    }
}
