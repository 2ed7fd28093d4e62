//! Metrics and traces: who can read the ones, and whether the others arrive.

use domain::infra::config::{Config, address_of_url};
use domain::infra::telemetry;
use tokio::net::TcpStream;

use super::{Finding, PATIENCE};

pub(super) async fn inspect(config: &Config) -> Vec<Finding> {
    let mut findings = vec![match config.metrics.listen {
        None => Finding::ok("no metrics are served: metrics.listen is not set"),
        Some(address) if !address.ip().is_loopback() => Finding::warning(
            format!("anybody who reaches {address} can read the metrics"),
            "let only Prometheus reach it, or set metrics.listen (MUSTER_METRICS_LISTEN) to a loopback address",
        ),
        Some(address) if address.port() == 0 => Finding::warning(
            "metrics are served at a port that changes with each start",
            "set metrics.listen (MUSTER_METRICS_LISTEN) to an address with a port",
        ),
        Some(address) => Finding::ok(format!("metrics are served at http://{address}/metrics")),
    }];
    match telemetry::tracing() {
        Ok(None) => findings
            .push(Finding::ok("no traces are exported: OTEL_EXPORTER_OTLP_ENDPOINT is not set, or traces are off")),
        Ok(Some(tracing)) => findings.push(collector(&tracing.endpoint).await),
        Err(faults) => findings.extend(faults.into_iter().map(|fault| {
            Finding::problem(
                format!("no traces are exported: {}: {}", fault.variable, fault.message),
                "correct it, or unset OTEL_EXPORTER_OTLP_ENDPOINT",
            )
        })),
    }
    findings
}

/// Whether the collector takes connections; nothing is sent.
async fn collector(endpoint: &str) -> Finding {
    let mend = "start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT; until then traces are dropped and nothing else suffers";
    let Some(address) = address_of_url(endpoint) else {
        return Finding::problem("the collector's URL has no host", mend);
    };
    match tokio::time::timeout(PATIENCE, TcpStream::connect(&address)).await {
        Ok(Ok(_)) => Finding::ok(format!("traces go to the collector at {address}")),
        Ok(Err(_)) | Err(_) => Finding::warning(format!("the collector at {address} does not answer"), mend),
    }
}
