//! Whether a process lives, and whether it can do its work.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::infra::config::{Config, MailTransport};
use domain::infra::db::Db;
use domain::infra::wake;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::trace::{Believed, trace};

/// For the database and Redis.
const PATIENCE: Duration = Duration::from_secs(1);
/// For a connection to the mail server.
const MAIL_PATIENCE: Duration = Duration::from_millis(300);
/// How long the answers about files and mail are good for: asking writes a file and opens a connection.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// What a process depends on. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Health {
    db: Db,
    config: Arc<Config>,
    surroundings: Arc<Mutex<Option<Surroundings>>>,
}

/// What is looked at now and then only.
#[derive(Clone, Copy, Debug)]
struct Surroundings {
    seen: Instant,
    files: bool,
    mail: bool,
}

/// `/livez` and `/readyz`.
pub fn router(health: Health) -> Router {
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(health)
}

/// Serves `/livez` and `/readyz` alone, for a process without an API, until `shutdown`.
pub async fn serve(health: Health, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
    let app = router(health).layer(from_fn_with_state(Believed::default(), trace));
    tokio::select! {
        served = axum::serve(listener, app) => served,
        () = shutdown.cancelled() => Ok(()),
    }
}

/// The process runs.
async fn live() -> &'static str {
    "ok\n"
}

/// A line for each thing the process depends on. Without PostgreSQL it is not ready; without anything else some of its work is
/// delayed or refused, so that is a degradation.
async fn ready(Shared(health): Shared<Health>) -> Response {
    let (database, redis, surroundings) = tokio::join!(health.database(), health.redis(), health.surroundings());
    let status = if database { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let lines = [
        if database { "postgresql: ok" } else { "postgresql: away" },
        redis,
        if surroundings.files { "files: ok" } else { "files: cannot be written, degraded: uploads fail" },
        match health.config.mail.transport {
            MailTransport::Outbox => "mail: kept in files, for development",
            MailTransport::Smtp if surroundings.mail => "mail: ok",
            MailTransport::Smtp => "mail: away, degraded: mails are delayed",
        },
    ];
    (status, [(header::CACHE_CONTROL, "no-store")], format!("{}\n", lines.join("\n"))).into_response()
}

impl Health {
    /// Nothing is looked at yet.
    pub fn new(db: Db, config: Arc<Config>) -> Self {
        Self { db, config, surroundings: Arc::default() }
    }

    async fn database(&self) -> bool {
        timeout(PATIENCE, self.db.now()).await.is_ok_and(|now| now.is_ok())
    }

    async fn redis(&self) -> &'static str {
        match &self.config.redis_url {
            None => "redis: not configured, one process works in memory",
            Some(url) if wake::answers(url, PATIENCE).await => "redis: ok",
            Some(_) => "redis: away, degraded: work for the worker is delayed",
        }
    }

    /// Whoever comes while somebody looks waits for the outcome: never longer than one look.
    async fn surroundings(&self) -> Surroundings {
        let mut known = self.surroundings.lock().await;
        if let Some(known) = known.filter(|known| known.seen.elapsed() < GOOD_FOR) {
            return known;
        }
        let smtp = &self.config.mail.smtp;
        let mail = async {
            let address = (smtp.host.as_str(), smtp.port);
            self.config.mail.transport == MailTransport::Outbox
                || timeout(MAIL_PATIENCE, TcpStream::connect(address)).await.is_ok_and(|connected| connected.is_ok())
        };
        let (files, mail) = tokio::join!(is_writable(self.config.data_dir.clone()), mail);
        *known.insert(Surroundings { seen: Instant::now(), files, mail })
    }
}

/// By writing a file: rights alone say nothing of a full or read-only disk.
async fn is_writable(folder: PathBuf) -> bool {
    let probe = folder.join(format!(".readyz-{}", uuid::Uuid::new_v4().simple()));
    let wrote = tokio::task::spawn_blocking(move || {
        std::fs::write(&probe, "ready?")?;
        std::fs::remove_file(&probe)
    });
    timeout(PATIENCE, wrote).await.is_ok_and(|wrote| matches!(wrote, Ok(Ok(()))))
}
