//! What a platform asks a process: does it live, can it work.

use std::sync::Arc;

use api::health::{self, Health};
use domain::infra::clock::Clock;
use domain::infra::config::{Config, MailTransport};
use domain::infra::db::Db;
use domain::infra::presence::Presence;
use domain::infra::secret::TokenKey;
use domain::infra::wake::Waker;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::app::{App, Options};
use crate::support::database::Database;

/// Nothing listens on this port.
const NOWHERE: u16 = 1;

async fn ask(url: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let answer = reqwest::get(format!("{url}{path}")).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// The probes alone, as `muster worker` serves them, until the guard is dropped.
async fn probes(db: Db, config: Config) -> anyhow::Result<(String, DropGuard)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    tokio::spawn(health::serve(Health::new(db, Arc::new(config)), listener, stop.clone()));
    Ok((url, stop.drop_guard()))
}

#[tokio::test]
async fn a_healthy_process_says_so_line_by_line() -> anyhow::Result<()> {
    let app = App::start().await?;
    assert_eq!(ask(&app.url, "/livez").await?, (200, "ok\n".to_owned()));
    let lines = "postgresql: ok\nredis: not configured, one process works in memory\nfiles: ok\nmail: kept in files, for development\n";
    assert_eq!(ask(&app.url, "/readyz").await?, (200, lines.to_owned()));
    app.finish().await
}

#[tokio::test]
async fn without_redis_a_process_is_degraded_but_ready() -> anyhow::Result<()> {
    let configure = |config: &mut Config| config.redis_url = Some(format!("redis://127.0.0.1:{NOWHERE}/0").into());
    let app = App::with(Options { configure, worker: false, ..Options::default() }).await?;
    let (status, lines) = ask(&app.url, "/readyz").await?;
    assert_eq!(status, 200);
    assert!(lines.contains("\nredis: away, degraded: work for the worker is delayed\n"), "{lines}");
    app.finish().await
}

#[tokio::test]
async fn without_postgresql_a_process_lives_but_is_not_ready() -> anyhow::Result<()> {
    let url = format!("postgres://muster@127.0.0.1:{NOWHERE}/muster");
    let pool = PgPoolOptions::new().connect_lazy(&url)?;
    let db = Db::new(pool, Clock::default(), Waker::local(), Arc::new(TokenKey::new(1, [7; 32])));
    let (url, _stop) = probes(db, Config::defaults(url)).await?;
    assert_eq!(ask(&url, "/livez").await?, (200, "ok\n".to_owned()));
    let (status, lines) = ask(&url, "/readyz").await?;
    assert_eq!(status, 503);
    assert!(lines.starts_with("postgresql: away\n"), "{lines}");
    Ok(())
}

#[tokio::test]
async fn without_files_or_mail_a_process_is_degraded_but_ready() -> anyhow::Result<()> {
    let database = Database::new().await;
    let mut config = Config::defaults(database.url());
    config.data_dir = "/dev/null/none".into();
    config.mail.transport = MailTransport::Smtp;
    config.mail.smtp.host = "127.0.0.1".to_owned();
    config.mail.smtp.port = NOWHERE;
    let (url, _stop) = probes(database.db.clone(), config.clone()).await?;
    let (status, lines) = ask(&url, "/readyz").await?;
    assert_eq!(status, 200);
    assert!(lines.contains("\nfiles: cannot be written, degraded: uploads fail\n"), "{lines}");
    assert!(lines.ends_with("\nmail: away, degraded: mails are delayed\n"), "{lines}");

    let server = TcpListener::bind("127.0.0.1:0").await?;
    config.mail.smtp.port = server.local_addr()?.port();
    let (url, _stop) = probes(database.db.clone(), config).await?;
    let (_, lines) = ask(&url, "/readyz").await?;
    assert!(lines.ends_with("\nmail: ok\n"), "{lines}");
    Ok(())
}

/// What is asked of this runtime while it does nothing else comes too late, and so would the answer.
#[tokio::test]
async fn whether_the_database_is_there_is_asked_however_busy_a_process_is() -> anyhow::Result<()> {
    let database = Database::new().await;
    let options = (*database.db.pool.connect_options()).clone().application_name("presence");
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    Presence::default().watch(options.clone(), stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let looking = std::thread::spawn(move || runtime.block_on(somebody_is_connected(&options)));
    looking.join().expect("no panic")
}

/// Waits until there is another connection of the same name.
async fn somebody_is_connected(options: &PgConnectOptions) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut conn = options.connect().await?;
    let sql =
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                              AND application_name = current_setting('application_name'))";
    while !sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut conn).await? {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "nobody asks");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(conn.close().await?)
}
