//! Traces as a collector gets them: one from the mutation to the mail.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::app::{Options, Person};
use crate::support::process::{Fleet, Process};

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(30);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// What a collector was sent.
#[derive(Clone, Default)]
struct Collector {
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    keys: Arc<Mutex<Vec<String>>>,
    url: String,
}

impl Collector {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let collector = Self { url: format!("http://{}", listener.local_addr()?), ..Self::default() };
        let app = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(collector)
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans).cloned().collect()
    }

    /// Everything it was sent, as text.
    fn text(&self) -> String {
        format!("{:?}", self.requests.lock().unwrap())
    }

    /// Waits for spans of these names with a condition on them all.
    async fn until(&self, is_met: impl Fn(&[Span]) -> bool) -> Result<Vec<Span>> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if is_met(&spans) {
                return Ok(spans);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("not met: {spans:#?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> &'static str {
    let key = headers.get("x-api-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    collector.keys.lock().unwrap().push(key.to_owned());
    collector.requests.lock().unwrap().push(ExportTraceServiceRequest::decode(body).expect("OTLP"));
    ""
}

/// A process that sends its spans to `endpoint` and believes the proxies named.
async fn serve(endpoint: &str, proxies: &str) -> Result<(Fleet, Process, Person)> {
    let mut fleet = Fleet::new(false, Options::default()).await?;
    fleet.extra = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.to_owned()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=canary-of-the-collector".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
        ("MUSTER_HTTP_TRUSTED_PROXIES", proxies.to_owned()),
    ];
    let process = fleet.start("serve").await?;
    let owner = fleet.app.found("olivia@harbor.example", 5).await?;
    Ok((fleet, process, owner))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Invites with a `traceparent`.
async fn invite(fleet: &Fleet, owner: &Person, email: &str, parent: &str) -> Result<()> {
    let bearer = format!("Bearer {}", owner.token);
    let input = json!({ "invitations": [{ "email": email, "roleIds": ["rol_00000000000070008000000000000005"] }] });
    let document =
        "mutation Secretive($input: MemberInviteInput!) { memberInvite(input: $input) { userErrors { code } } }";
    let headers = [("authorization", bearer.as_str()), ("traceparent", parent), ("tracestate", "evil=1")];
    let answer = fleet.app.graphql_with(&headers, document, json!({ "input": input })).await?;
    assert!(answer.codes().is_empty(), "{}", answer.body);
    fleet.app.letter(email).await?;
    Ok(())
}

#[tokio::test]
async fn one_trace_leads_from_the_mutation_to_the_mail() -> Result<()> {
    let collector = Collector::start().await?;
    let (fleet, process, owner) = serve(&collector.url, "127.0.0.1").await?;
    invite(&fleet, &owner, "ada@firm.example", &format!("00-{TRACE}-{CALLER}-01")).await?;
    let of_trace =
        |spans: &[Span]| spans.iter().filter(|span| hex(&span.trace_id) == TRACE).cloned().collect::<Vec<_>>();
    let named = |spans: &[Span], name: &str| of_trace(spans).into_iter().find(|span| span.name == name);
    let all = |spans: &[Span]| ["request", "job", "mail"].iter().all(|name| named(spans, name).is_some());
    let spans = collector.until(all).await?;
    let [request, job, mail] = ["request", "job", "mail"].map(|name| named(&spans, name).unwrap());
    assert_eq!(hex(&request.parent_span_id), CALLER);
    assert_eq!(hex(&job.parent_span_id), hex(&request.span_id));
    assert_eq!(hex(&mail.parent_span_id), hex(&job.span_id));
    assert_eq!(of_trace(&spans).len(), 3, "{spans:#?}");
    let text = collector.text();
    for expected in
        ["graphql.root_field", "memberInvite", "mail.invitation", "job.outcome", "settled", "service.name", "muster"]
    {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let letter = fleet.app.letter("ada@firm.example").await?;
    for secret in
        ["ada@", "firm.example", "olivia", "Olivia", &owner.token, &letter.token(), "canary", "evil", "correct horse"]
    {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(collector.keys.lock().unwrap().iter().all(|key| key == "canary-of-the-collector"));
    assert!(!process.log().contains("canary"), "{}", process.log());
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn a_trace_of_a_stranger_is_linked_to_and_not_joined() -> Result<()> {
    let collector = Collector::start().await?;
    let (fleet, process, owner) = serve(&collector.url, "192.0.2.1").await?;
    invite(&fleet, &owner, "ada@firm.example", &format!("00-{TRACE}-{CALLER}-00")).await?;
    let is_linked =
        |span: &Span| span.links.iter().any(|link| hex(&link.trace_id) == TRACE && hex(&link.span_id) == CALLER);
    // Not sampled by its sender, and exported all the same: that is for the sampler here to say.
    let spans = collector.until(|spans| spans.iter().any(|span| span.name == "request" && is_linked(span))).await?;
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE), "{spans:#?}");
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn a_hostile_traceparent_breaks_nothing() -> Result<()> {
    let collector = Collector::start().await?;
    let (fleet, process, _) = serve(&collector.url, "127.0.0.1").await?;
    let long = "0".repeat(6_000);
    let zero = format!("00-{}-{}-01", "0".repeat(32), "0".repeat(16));
    let hostile = ["", "00", "-", "----", "ff-x", &long, &zero, "00-\u{1F4A9}", "00-%00-%0a-01", "' OR 1=1 --"];
    for (index, parent) in hostile.iter().enumerate() {
        let id = format!("b0571e00-0000-4000-8000-{index:012x}");
        let body = json!({ "query": "{ viewer { account { id } } }", "variables": Value::Null });
        let request = fleet.app.http.post(format!("{}/graphql", fleet.app.url)).json(&body);
        let value = reqwest::header::HeaderValue::from_bytes(parent.as_bytes())?;
        let answer = request.header("traceparent", value).header("x-request-id", &id).send().await?;
        assert_eq!(answer.status(), 200, "{parent}");
    }
    let id = |span: &Span| format!("{:?}", span.attributes);
    let of_hostile =
        |spans: &[Span]| spans.iter().filter(|span| id(span).contains("b0571e00-")).cloned().collect::<Vec<_>>();
    let spans = of_hostile(&collector.until(|spans| of_hostile(spans).len() == hostile.len()).await?);
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty() && span.links.is_empty()), "{spans:#?}");
    let traces: std::collections::HashSet<_> = spans.iter().map(|span| span.trace_id.clone()).collect();
    assert_eq!(traces.len(), hostile.len(), "each is a trace of its own");
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_stops_nobody() -> Result<()> {
    let silent = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    for endpoint in ["http://127.0.0.1:1".to_owned(), format!("http://{}", silent.local_addr()?)] {
        let (fleet, process, owner) = serve(&endpoint, "127.0.0.1").await?;
        invite(&fleet, &owner, "ada@firm.example", &format!("00-{TRACE}-{CALLER}-01")).await?;
        // Ends in order, with spans that nobody takes.
        fleet.finish(vec![process]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_exported_is_said_and_the_service_runs() -> Result<()> {
    let mut fleet = Fleet::new(false, Options::default()).await?;
    fleet.extra = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317".to_owned()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
    ];
    let process = fleet.start("serve").await?;
    fleet.app.found("olivia@harbor.example", 5).await?;
    let log = process.log();
    assert!(log.contains("traces are not exported") && log.contains("OTEL_EXPORTER_OTLP_PROTOCOL"), "{log}");
    fleet.finish(vec![process]).await
}
