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

/// Milliseconds, as the specification has it.
const USUAL_TIME_OUT: u64 = 10_000;

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// What reads a variable.
struct Variables<F>(F);

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    /// An empty variable is one that is not set (OpenTelemetry specification, "Environment Variable Specification").
    fn value(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// That of traces, or else that of all signals, and which of them it is.
    fn either(&self, special: &'static str, general: &'static str) -> Option<(&'static str, String)> {
        [special, general].into_iter().find_map(|name| Some((name, self.value(name)?)))
    }

    fn is_off(&self) -> bool {
        self.value("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || self.value("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none")
    }

    /// The URL with its path, and where it stands.
    fn endpoint(&self) -> Option<(&'static str, String)> {
        const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let (name, url) = self.either("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", GENERAL)?;
        Some(if name == GENERAL { (name, format!("{}/v1/traces", url.trim_end_matches('/'))) } else { (name, url) })
    }

    fn faults_of_transport(&self, fault: &mut impl FnMut(&'static str, &'static str)) {
        let protocol = self.either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        if let Some((name, _)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") {
            fault(name, "only http/protobuf is spoken; a collector takes it at port 4318");
        }
        if self.value("OTEL_TRACES_EXPORTER").is_some_and(|value| value != "otlp") {
            fault("OTEL_TRACES_EXPORTER", "there is only otlp, and none");
        }
        let headers = self.either("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
        if let Some((name, _)) = headers.filter(|(_, headers)| !headers.split(',').all(is_header)) {
            fault(name, "it is not a list like name=value,other=value");
        }
        let compression = self.either("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION");
        if let Some((name, _)) = compression.filter(|(_, compression)| compression != "none") {
            fault(name, "nothing is compressed: remove it");
        }
    }

    fn faults_of_sampler(&self, fault: &mut impl FnMut(&'static str, &'static str)) {
        let Some(sampler) = self.value("OTEL_TRACES_SAMPLER") else { return };
        if !SAMPLERS.contains(&sampler.as_str()) {
            fault("OTEL_TRACES_SAMPLER", "there is no such sampler");
        }
        let share = self.value("OTEL_TRACES_SAMPLER_ARG").and_then(|share| share.parse().ok());
        if sampler.ends_with("traceidratio") && !share.is_some_and(|share: f64| (0.0..=1.0).contains(&share)) {
            fault("OTEL_TRACES_SAMPLER_ARG", "the sampler needs a share between 0 and 1");
        }
    }
}

fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Tracing>, Vec<TracingFault>> {
    let variables = Variables(variable);
    let Some((from, endpoint)) = variables.endpoint().filter(|_| !variables.is_off()) else { return Ok(None) };
    let mut faults = Vec::new();
    let mut fault = |variable, message| faults.push(TracingFault { variable, message });
    if address_of_url(&endpoint).is_none() {
        fault(from, "it is not an http or https URL");
    }
    variables.faults_of_transport(&mut fault);
    variables.faults_of_sampler(&mut fault);
    let time_out = variables.either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
    let millis = time_out.as_ref().map_or(Some(USUAL_TIME_OUT), |(_, millis)| millis.parse().ok());
    if let (Some((name, _)), None) = (time_out, millis) {
        fault(name, "it is not a number of milliseconds");
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let is_named = variables.value("OTEL_SERVICE_NAME").is_some()
        || variables.value("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|list| list.contains("service.name="));
    let time_out = Duration::from_millis(millis.unwrap_or(USUAL_TIME_OUT));
    Ok(Some(Tracing { endpoint, time_out, is_named }))
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
