//! A database of its own for each test, copied from one that was migrated once.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use domain::infra::clock::Clock;
use domain::infra::db::{self, Db};
use domain::infra::secret::TokenKey;
use domain::infra::wake::Waker;
use domain::permission;
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};

/// Held while the template is made.
const LOCK: i64 = 0x6d75_7374_6572_7465;

/// How long anybody here waits for a connection: on a machine that is busy with other tests the product's own time is soon over,
/// and no test is about that.
const PATIENCE: Duration = Duration::from_secs(30);

/// The connections of an API or a worker.
pub(crate) async fn open(url: &SecretString) -> sqlx::Result<PgPool> {
    db::connect_within(url, 10, PATIENCE).await
}

/// A migrated database with a clock that can be moved; it goes away with this value.
pub(crate) struct Database {
    pub(crate) db: Db,
    server: String,
    name: String,
}

fn options(server: &str) -> PgConnectOptions {
    server.parse().expect("DATABASE_URL is a PostgreSQL URL")
}

/// The URL of another database of the same server.
fn url_of(server: &str, name: &str) -> SecretString {
    let url = server;
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let (server, _) = address.rsplit_once('/').expect("a URL has a path");
    SecretString::from(format!("{server}/{name}{}{query}", if query.is_empty() { "" } else { "?" }))
}

impl Database {
    /// On the server of all tests.
    pub(crate) async fn new() -> Self {
        let url = std::env::var("DATABASE_URL").expect("DATABASE_URL names a server on which databases can be made");
        Self::on(&url).await
    }

    /// On another server.
    pub(crate) async fn on(server: &str) -> Self {
        let mut conn = PgConnection::connect_with(&options(server)).await.unwrap();
        let template = template(&mut conn, &options(server)).await;
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        // Only one copy of a template can be made at a time.
        conn.execute(AssertSqlSafe(format!("SELECT pg_advisory_lock({LOCK})"))).await.unwrap();
        conn.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"))).await.unwrap();
        conn.close().await.unwrap();
        // As `muster migrate` does; not part of the migrations.
        let mut conn = PgConnection::connect_with(&options(server).database(&name)).await.unwrap();
        permission::write_catalogue(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        let pool = open(&url_of(server, &name)).await.unwrap();
        let key = Arc::new(TokenKey::new(1, [7; 32]));
        Self { db: Db::new(pool, Clock::movable(), Waker::local(), key), server: server.to_owned(), name }
    }
}

impl Database {
    /// Its URL, for a process of its own.
    pub(crate) fn url(&self) -> SecretString {
        url_of(&self.server, &self.name)
    }
}

/// The name of a migrated database that nobody is connected to.
async fn template(conn: &mut PgConnection, server: &PgConnectOptions) -> String {
    let migrations = sqlx::migrate!("../migrations");
    let mut hasher = DefaultHasher::new();
    migrations.iter().for_each(|migration| migration.checksum.hash(&mut hasher));
    let name = format!("test_template_{:016x}", hasher.finish());
    conn.execute(AssertSqlSafe(format!("SELECT pg_advisory_lock({LOCK})"))).await.unwrap();
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    if !exists {
        let half = format!("{name}_half");
        conn.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {half} WITH (FORCE)"))).await.unwrap();
        conn.execute(AssertSqlSafe(format!("CREATE DATABASE {half}"))).await.unwrap();
        let mut half_conn = PgConnection::connect_with(&server.clone().database(&half)).await.unwrap();
        migrations.run(&mut half_conn).await.unwrap();
        half_conn.close().await.unwrap();
        conn.execute(AssertSqlSafe(format!("ALTER DATABASE {half} RENAME TO {name}"))).await.unwrap();
    }
    conn.execute(AssertSqlSafe(format!("SELECT pg_advisory_unlock({LOCK})"))).await.unwrap();
    name
}

impl Database {
    /// Removes it while others of this thread go on. A connection of theirs that is about to be let in would keep the server from
    /// removing anything, and be given up after a minute, if the thread waited here.
    pub(crate) async fn remove(self) {
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (name, server) = (self.name.clone(), options(&self.server));
        // The test's own runtime cannot be waited for in here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut conn = PgConnection::connect_with(&server).await.unwrap();
                conn.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
            });
        });
        let _ = dropped.join();
    }
}
