//! What this process counts, for Prometheus. Whoever does a thing calls the function named after it; names, labels and meanings
//! stand in `catalogue.rs`.
//!
//! Counting is a lock of a shard and an addition, needs no set-up and cannot fail. Labels are `&'static str`, so that the number of
//! series is bounded by the program: [`Names`] is the only way from other text to a label.

mod catalogue;
mod kind;
mod look;
mod names;
mod process;

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use self::catalogue::Metrics;
pub use self::catalogue::reference;
pub use self::look::{Look, Pool};
pub use self::names::Names;
use crate::job::Lane;

/// The type of what [`render`] answers.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

static ALL: LazyLock<(Metrics, Registry)> = LazyLock::new(|| {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    metrics.build.set([env!("CARGO_PKG_VERSION")], 1.0);
    (metrics, registry)
});

fn all() -> &'static Metrics {
    &ALL.0
}

/// Everything counted so far, as text of the type [`CONTENT_TYPE`].
pub fn render() -> String {
    process::read(all());
    let mut page = String::new();
    text::encode(&mut page, &ALL.1).expect("text can be written to memory");
    page
}

/// An HTTP request was answered. `route` is its template, never its path.
pub fn http_answered(route: &str, status: u16) {
    static ROUTES: Names = Names::new(60);
    static STATUSES: Names = Names::new(40);
    all().http_requests.one([ROUTES.of(route), STATUSES.of(&status.to_string())]);
}

/// A GraphQL operation was answered: the first of its root fields, a code or `OK`, and how long it took.
pub fn request_answered(operation: &'static str, code: &'static str, took: Duration) {
    all().requests.one([operation, code]);
    all().request_duration.took([operation], took.as_secs_f64());
}

/// A failure that a person can mend was answered.
pub fn user_error(code: &'static str) {
    all().user_errors.one([code]);
}

/// Why a request was refused that nothing is wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Too many of a kind.
    RateLimit,
    /// More requests than can be worked on: load was shed.
    Overload,
    /// More requests of one user or network than their share.
    Share,
    /// Lost against other writers.
    Contention,
    /// No connection was free in time.
    PoolTimeout,
    /// The database cannot be reached.
    DatabaseAway,
    /// It took too long.
    Timeout,
    /// The process ends.
    Stopping,
}

/// A request was refused that nothing is wrong with.
pub fn refused(cause: Cause) {
    all().refused.one([match cause {
        Cause::RateLimit => "rate_limit",
        Cause::Overload => "overload",
        Cause::Share => "share",
        Cause::Contention => "contention",
        Cause::PoolTimeout => "pool_timeout",
        Cause::DatabaseAway => "database_away",
        Cause::Timeout => "timeout",
        Cause::Stopping => "stopping",
    }]);
}

/// A rate limit was reached.
pub fn rate_limited(limit: &'static str) {
    all().rate_limited.one([limit]);
}

/// Somebody got a connection after waiting so many seconds.
pub(crate) fn connection_acquired(seconds: f64) {
    all().pool_acquire.took([], seconds);
}

/// An attempt at a job ended: its kind and `done`, `settled`, `retry`, `waits`, `left`, `dead`, `superseded` or `unwritten`.
pub fn job_ended(kind: &str, outcome: &'static str) {
    all().jobs.one([job_kind(kind), outcome]);
}

/// How long an attempt at a job took.
pub fn job_took(kind: &str, took: Duration) {
    all().job_duration.took([job_kind(kind)], took.as_secs_f64());
}

/// As stored it may be a kind that this version does not know.
fn job_kind(kind: &str) -> &'static str {
    kind.parse::<crate::job::JobKind>().map_or("unknown", |kind| kind.as_str())
}

/// The relay of a lane looked at the queue: whether this process relays it, and how many ids are in the queue then.
pub fn relay_looked(lane: Lane, outstanding: Option<usize>) {
    all().relay_leader.set([lane.as_str()], if outstanding.is_some() { 1.0 } else { 0.0 });
    all().relay_outstanding.set([lane.as_str()], count(outstanding.unwrap_or_default()));
}

/// Jobs were handed to the queue.
pub fn relay_handed_over(lane: Lane, jobs: usize) {
    all().relay_hints.more([lane.as_str()], count(jobs));
}

/// A look of the relay failed.
pub fn relay_failed(lane: Lane) {
    all().relay_failures.one([lane.as_str()]);
}

/// A sweep ended, well or not.
pub fn sweep_ended(sweep: &'static str, well: bool, took: Duration) {
    all().sweep_runs.one([sweep, if well { "ok" } else { "failed" }]);
    all().sweep_duration.took([sweep], took.as_secs_f64());
}

/// A mail was handed over, or not: the kind of its job, `sent`, `deferred` or `undeliverable`, why, and how long that took.
pub fn mail_ended(kind: &'static str, outcome: &'static str, code: &'static str, took: Duration) {
    all().mails.one([kind, outcome, code]);
    all().mail_duration.took([], took.as_secs_f64());
}

/// An import ended, well or not.
pub fn import_ended(outcome: &'static str) {
    all().imports.one([outcome]);
}

/// Rows of an import were written down: so many led to an invited member, and so many to none.
pub fn import_rows(invited: usize, rejected: usize) {
    all().import_rows.more(["invited"], count(invited));
    all().import_rows.more(["rejected"], count(rejected));
}

/// A file was put; what came of it is among the outcomes of its counter.
pub fn upload_ended(outcome: &'static str) {
    all().uploads.one([outcome]);
}

/// A WebSocket was accepted. Each call is followed by one of [`socket_closed`].
pub fn socket_opened() {
    all().sockets_open.add([], 1.0);
}

/// A WebSocket ended, with the code that it was closed with; `None` when the connection broke.
pub fn socket_closed(code: Option<u16>) {
    all().sockets_open.add([], -1.0);
    all().sockets_closed.one([match code {
        None => "none",
        Some(1000) => "1000",
        Some(1001) => "1001",
        Some(1002) => "1002",
        Some(1003) => "1003",
        Some(1007) => "1007",
        Some(1008) => "1008",
        Some(1009) => "1009",
        Some(1011) => "1011",
        Some(1012) => "1012",
        Some(1013) => "1013",
        Some(4400) => "4400",
        Some(4401) => "4401",
        Some(4403) => "4403",
        Some(4406) => "4406",
        Some(4408) => "4408",
        Some(4409) => "4409",
        Some(4429) => "4429",
        Some(4500) => "4500",
        Some(_) => "other",
    }]);
}

/// An operation over a WebSocket began. Each call is followed by one of [`socket_operation_ended`].
pub fn socket_operation_began() {
    all().socket_operations_open.add([], 1.0);
}

/// An operation over a WebSocket ended: the first of its root fields, and `OK` or a code.
pub fn socket_operation_ended(operation: &'static str, code: &'static str) {
    all().socket_operations_open.add([], -1.0);
    all().socket_operations.one([operation, code]);
}

/// Events were given to one subscriber.
pub fn events_handed_out(events: usize) {
    all().events_handed_out.more([], count(events));
}

/// So many accounts are followed through this process now.
pub fn feed_hubs(hubs: usize) {
    all().feed_hubs.set([], count(hubs));
}

/// A subscriber reads from the table: because it was too far `behind` for the hub, or from its cursor at the start.
pub fn feed_replay(behind: bool) {
    all().feed_replays.one([if behind { "behind" } else { "start" }]);
}

/// A look for new events and changed rights failed.
pub fn feed_look_failed() {
    all().feed_looks_failed.one([]);
}

/// A batch of spans was taken by the collector, or lost.
pub(crate) fn trace_batch_ended(taken: bool) {
    all().trace_batches.one([if taken { "taken" } else { "lost" }]);
}

/// Beyond 2^53 the last digits are lost, which nobody reads.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_becomes_few_labels_that_cannot_break_a_line() {
        for number in 0..1_000 {
            http_answered(&format!("/x{number}\"}} 1\n\\"), 200);
        }
        let page = render();
        let lines: Vec<_> = page.lines().filter(|line| line.starts_with("muster_http_requests_total{")).collect();
        assert!(lines.len() <= 61, "{}", lines.len());
        assert!(lines.iter().all(|line| line.contains("status=\"200\"")), "{lines:?}");
        assert!(page.contains(r#"route="/x0\"} 1\n\\""#), "{page}");
        assert!(page.contains(r#"{route="other",status="200"} 940"#), "{page}");
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn what_has_no_labels_is_there_from_the_start() {
        let page = render();
        for series in ["muster_events_handed_out_total ", "muster_sockets_open ", "muster_pool_acquire_seconds_count "]
        {
            assert!(page.lines().any(|line| line.starts_with(series)), "{series} in {page}");
        }
    }

    #[test]
    fn the_reference_names_what_is_exposed() {
        let (page, reference) = (render(), reference());
        for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let total = if kind == "counter" { "_total" } else { "" };
            assert!(reference.contains(&format!("| `{name}{total}` | {kind} |")), "{line}");
        }
    }
}
