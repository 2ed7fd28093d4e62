//! Sends spans to a collector by OTLP over HTTP, in batches, from a thread of its own. Spans wait in a bounded queue; what does not
//! fit is dropped, so a collector that is away slows nobody.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{Level, Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use super::settings::Tracing;
use crate::infra::metrics;

/// For the last batch, when the process ends.
const LAST: Duration = Duration::from_secs(3);

/// Bytes of a collector's answer that are read.
const ANSWER: usize = 64 * 1024;

/// Sends spans away, or none.
#[derive(Debug)]
pub struct Exporter(Option<SdkTracerProvider>);

/// What of this program's spans is exported: spans alone, no lines of the log. Those of libraries are not ours to judge.
pub(super) fn is_exported(metadata: &Metadata<'_>) -> bool {
    let from = metadata.target().split("::").next().unwrap_or_default();
    metadata.is_span() && *metadata.level() <= Level::INFO && matches!(from, "api" | "domain" | "worker" | "muster")
}

impl Exporter {
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Within the runtime that is to talk to the collector. Headers, sampler, queue and names come from the environment.
    pub(super) fn start(tracing: &Tracing) -> Self {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(tracing.time_out))
            .with_endpoint(&tracing.endpoint)
            .with_timeout(tracing.time_out)
            .build();
        let Ok(exporter) = exporter else { return Self::none() };
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if !tracing.is_named {
            resource = resource.with_service_name("muster");
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        Self(Some(provider.build()))
    }

    pub(super) fn layer<S>(&self) -> Option<OpenTelemetryLayer<S, SdkTracer>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.0.as_ref()?.tracer("muster");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
        Some(layer.with_tracked_inactivity(false).with_target(false).with_level(false))
    }

    /// Sends what is left, for a few seconds at most.
    pub async fn shut_down(self) {
        let Some(provider) = self.0 else { return };
        let (done, ended) = tokio::sync::oneshot::channel();
        // It blocks until the batch is sent, and a thread that a runtime knows would be waited for without end.
        std::thread::spawn(move || {
            let _ = done.send(provider.shutdown_with_timeout(LAST));
        });
        let sent = tokio::time::timeout(LAST * 2, ended).await;
        if !matches!(sent, Ok(Ok(Ok(())))) {
            tracing::warn!("the last spans could not be sent to the collector");
        }
    }
}

/// A client of the collector: of the runtime, over the TLS that everything else here speaks.
struct Collector {
    runtime: Handle,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    time_out: Duration,
}

impl Collector {
    fn new(time_out: Duration) -> Self {
        let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Self { runtime: Handle::current(), http, time_out }
    }
}

/// Without the client: its requests carry secrets.
impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl HttpClient for Collector {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let (http, time_out) = (self.http.clone(), self.time_out);
        // The exporter's thread knows no runtime.
        let sent = self.runtime.spawn(async move {
            let sending = async {
                let (head, body) = http.request(request.map(Full::new)).await?.into_parts();
                let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
                Ok::<_, HttpError>(Response::from_parts(head, body))
            };
            tokio::time::timeout(time_out, sending).await?
        });
        Box::pin(async move {
            let answer = sent.await?;
            metrics::trace_batch_ended(answer.as_ref().is_ok_and(|answer| answer.status().is_success()));
            answer
        })
    }
}
