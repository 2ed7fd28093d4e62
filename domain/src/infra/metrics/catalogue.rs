//! Every metric of the product: name, labels, unit and meaning. `docs/metrics.md` is written from this file.
//!
//! Nothing personal and no id is a label. Label values are `&'static str`: what a client sends cannot become one.

use std::fmt::Write as _;

use prometheus_client::registry::{Registry, Unit};

use super::kind::{Counter, Gauge, Histogram, Kind};

/// A row of the catalogue.
pub(super) struct Row {
    section: &'static str,
    name: String,
    kind: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
}

/// The name under which Prometheus knows a metric: with its unit, and `_total` for what only grows.
fn full_name(name: &str, unit: Option<&Unit>, kind: &str) -> String {
    let unit = unit.map_or_else(String::new, |unit| format!("_{}", unit.as_str()));
    format!("{name}{unit}{}", if kind == Counter::<0>::NAME { "_total" } else { "" })
}

macro_rules! catalogue {
    ($( $section:literal { $( $field:ident: $kind:ident $name:literal [$($label:ident),*] $($unit:ident)?, $help:literal; )+ } )+) => {
        /// All metrics of this process.
        pub(super) struct Metrics {
            $($( #[doc = $help] pub(super) $field: $kind<{ <[&str]>::len(&[$(stringify!($label)),*]) }>, )+)+
        }

        impl Metrics {
            /// Makes and registers them.
            pub(super) fn register(registry: &mut Registry) -> Self {
                Self {
                    $($( $field: $kind::new([$(stringify!($label)),*]).register(
                        registry, $name, $help.trim_end_matches('.'), [$(Unit::$unit)?].into_iter().next(),
                    ), )+)+
                }
            }
        }

        /// The catalogue as rows.
        pub(super) fn rows() -> Vec<Row> {
            vec![$($(
                Row {
                    section: $section,
                    name: full_name($name, [$(Unit::$unit)?].first(), $kind::<0>::NAME),
                    kind: $kind::<0>::NAME,
                    labels: &[$(stringify!($label)),*],
                    help: $help,
                },
            )+)+]
        }
    };
}

catalogue! {
    "Requests" {
        http_requests: Counter "muster_http_requests" [route, status], "HTTP requests answered, by the template of the route and the status.";
        requests: Counter "muster_requests" [operation, code], "GraphQL operations answered, by the first field of the operation (`introspection`, `unknown` for what the schema does not have, `none` for what could not be read) and `OK` or the code of the first error.";
        request_duration: Histogram "muster_request_duration" [operation] Seconds, "Time from the parsing of a GraphQL operation to its answer.";
        user_errors: Counter "muster_user_errors" [code], "Failures that a person can mend, as answered in `userErrors`, by code.";
        refused: Counter "muster_refused" [cause], "Requests refused although nothing was wrong with them: `rate_limit`, `overload` (shed load), `share` (one user or network has used up their share of the places), `contention` (lost against other writers), `pool_timeout` (no free connection in time), `database_away`, `timeout`, `stopping`.";
        rate_limited: Counter "muster_rate_limited" [limit], "Tries over a rate limit, by limit. `mail.address` delays a mail, all others refuse.";
    }
    "Database connections" {
        pool_connections: Gauge "muster_pool_connections" [pool, state], "Open connections of a pool, `idle` or `used`; pools are `api`, `live` (the feed), `worker` (handlers and sweeps) and `queue` (claims, leases and outcomes of jobs).";
        pool_limit: Gauge "muster_pool_limit" [pool], "Connections that a pool may open.";
        pool_acquire: Histogram "muster_pool_acquire" [] Seconds, "Time that somebody waited for a connection and got one, in any pool.";
    }
    "Jobs" {
        jobs: Counter "muster_jobs" [kind, outcome], "Attempts at jobs, by kind and outcome: `done`; `settled` (the handler wrote the outcome with its effect: see mails and imports); `retry`; `waits` (something else has to end first, which is no failure); `left` (of a kind that this version does not know: left to a newer one); `dead` (no further attempt by itself); `superseded` (somebody else has the job by now); `unwritten` (the outcome could not be written, the job runs again).";
        job_duration: Histogram "muster_job_duration" [kind] Seconds, "Time of one attempt at a job.";
        jobs_oldest_due: Gauge "muster_jobs_oldest_due" [lane] Seconds, "How long the oldest job that should run has waited to be started; 0 if none waits. The same in all processes.";
        jobs_unfinished: Gauge "muster_jobs_unfinished" [lane], "Jobs that are neither finished nor dead, those that wait for another attempt included. The same in all processes.";
        jobs_dead: Gauge "muster_jobs_dead" [lane], "Jobs that died and were neither retried nor buried. The same in all processes.";
        relay_lag: Gauge "muster_relay_lag" [lane] Seconds, "How long the oldest due job has waited to be handed to the queue; 0 if none waits. The same in all processes.";
        relay_outstanding: Gauge "muster_relay_outstanding" [lane], "Ids in the queue when the relay last looked; only in the process that relays the lane.";
        relay_leader: Gauge "muster_relay_leader" [lane], "1 in the process that relays the lane, else 0.";
        relay_hints: Counter "muster_relay_hints" [lane], "Jobs handed to the queue, each time anew when one is handed over again.";
        relay_failures: Counter "muster_relay_failures" [lane], "Looks of the relay that failed, because of the database or Redis.";
    }
    "Sweeps" {
        sweep_runs: Counter "muster_sweep_runs" [sweep, outcome], "Runs of sweeps: `ok` or `failed`.";
        sweep_duration: Histogram "muster_sweep_duration" [sweep] Seconds, "Time of one run of a sweep.";
        sweep_lag: Gauge "muster_sweep_lag" [sweep] Seconds, "How long the next run of a sweep is overdue, from the tick of the last one that ended well; 0 if none is. The same in all processes.";
    }
    "Mail" {
        mails: Counter "muster_mails" [kind, outcome, code], "Tries to hand a mail over: `sent`, `deferred` (tried again; the code says why) or `undeliverable` (`SMTP_5XX`: the server refuses it; `REFUSED`: refused without asking the server).";
        mail_duration: Histogram "muster_mail_duration" [] Seconds, "Time to hand a mail over, however that ended.";
    }
    "Imports and uploads" {
        imports: Counter "muster_imports" [outcome], "Imports that ended: `finished`, `failed` or `canceled`.";
        import_rows: Counter "muster_import_rows" [outcome], "Rows of imports worked on: `invited` or `rejected`.";
        uploads: Counter "muster_uploads" [outcome], "Files put: `stored`, `gone` (unknown, over or used), `too_large`, `unsupported` (no text), `damaged` (not what its digest says), `malformed` (a digest that cannot be read), `late`, `interrupted`, `replaced` (the same upload was sent another file), `full` (too many arrive at once), `foreign` (a page of a site that may not) or `failed`.";
    }
    "Sockets and the live feed" {
        sockets_open: Gauge "muster_sockets_open" [], "Open WebSockets.";
        sockets_closed: Counter "muster_sockets_closed" [code], "WebSockets that ended, by close code; `1000` for those that their clients closed, `none` for a broken connection, `other` for codes that only clients send.";
        socket_operations_open: Gauge "muster_socket_operations_open" [], "Operations that run over WebSockets.";
        socket_operations: Counter "muster_socket_operations" [operation, code], "Operations over WebSockets that ended; labels as of `muster_requests_total`.";
        events_handed_out: Counter "muster_events_handed_out" [], "Events given to subscribers, each event once per subscriber.";
        feed_hubs: Gauge "muster_feed_hubs" [], "Accounts that somebody follows through this process.";
        feed_replays: Counter "muster_feed_replays" [cause], "Subscribers that read from the table and not from a hub: `start` (from a cursor) or `behind` (too slow for the hub).";
        feed_looks_failed: Counter "muster_feed_looks_failed" [], "Looks for new events and changed rights that failed.";
    }
    "Process" {
        build: Gauge "muster_build" [version], "1, with the version of the program.";
        database_up: Gauge "muster_database_up" [], "1 if the database answered the questions of this scrape within a second, else 0; then the metrics that are the same in all processes are missing.";
        trace_batches: Counter "muster_trace_batches" [outcome], "Batches of spans given to the collector: `taken` or `lost` (it was away, too slow, or refused).";
        cpu: Counter "process_cpu" [] Seconds, "Processor time.";
        memory: Gauge "process_resident_memory" [] Bytes, "Resident memory.";
        open_files: Gauge "process_open_fds" [], "Open file descriptors.";
        started: Gauge "process_start_time" [] Seconds, "When the process started, in seconds since 1970.";
    }
}

const INTRODUCTION: &str = "\
<!-- Generated by `./dev schema` from domain/src/infra/metrics/catalogue.rs; do not edit. -->

# Metrics

Prometheus reads these from `/metrics` at `metrics.listen`. What they mean together, what to do, and which alerts to set stands in
[operating.md](operating.md). A series appears with its first count. Histograms have the usual `_bucket`, `_sum` and `_count`. No label holds a
name, an address, a token or an id; values come from the schema and the program, never from clients.
";

/// The catalogue, as Markdown.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut section = "";
    for row in rows() {
        if row.section != section {
            section = row.section;
            let _ = write!(page, "\n## {section}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n");
        }
        let labels = row.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| `{}` | {} | {labels} | {} |", row.name, row.kind, row.help);
    }
    page
}
