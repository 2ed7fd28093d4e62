//! `muster migrate`, run as an operator runs it.

use std::process::Output;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::process::Command;

/// An empty database of its own.
struct EmptyDatabase {
    server: String,
    name: String,
}

impl EmptyDatabase {
    async fn create() -> anyhow::Result<Self> {
        let server = std::env::var("DATABASE_URL").context("DATABASE_URL is set by ./dev test")?;
        let name = format!("muster_test_{}", uuid::Uuid::new_v4().simple());
        PgConnection::connect(&server).await?.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        Ok(Self { server, name })
    }

    fn url(&self) -> String {
        let (base, query) = self.server.split_once('?').map_or((self.server.as_str(), None), |(b, q)| (b, Some(q)));
        let (base, _) = base.rsplit_once('/').expect("a URL with a database");
        format!("{base}/{}{}", self.name, query.map(|query| format!("?{query}")).unwrap_or_default())
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.url()).await?)
    }

    async fn muster(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let program = std::env::var("MUSTER_BIN").context("MUSTER_BIN is set by ./dev test")?;
        let run = Command::new(program).args(arguments).env_clear().env("DATABASE_URL", self.url()).output();
        Ok(run.await?)
    }

    async fn drop(self) -> anyhow::Result<()> {
        let drop = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        PgConnection::connect(&self.server).await?.execute(drop).await?;
        Ok(())
    }
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files() -> anyhow::Result<usize> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
    Ok(std::fs::read_dir(folder)?.count())
}

#[tokio::test]
async fn replicas_at_once_migrate_once() -> anyhow::Result<()> {
    let database = EmptyDatabase::create().await?;
    let outputs = futures::future::try_join_all((0..6).map(|_| database.muster(&["migrate"]))).await?;
    let applied = |output: &Output| lines(output).iter().filter(|line| line.starts_with("applied ")).count();
    for output in &outputs {
        ensure!(output.status.success(), "{}", complaint(output));
    }
    let mut counts: Vec<usize> = outputs.iter().map(applied).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 0, 0, 0, files()?], "one replica applies everything, the others nothing");
    database.drop().await
}

#[tokio::test]
async fn check_lists_what_is_pending_and_changes_nothing() -> anyhow::Result<()> {
    let database = EmptyDatabase::create().await?;
    let before = database.muster(&["migrate", "--check"]).await?;
    assert_eq!(before.status.code(), Some(1), "{}", complaint(&before));
    assert_eq!(lines(&before).iter().filter(|line| line.starts_with("pending ")).count(), files()?);
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        .fetch_one(&mut database.connect().await?)
        .await?;
    assert_eq!(tables, 0);

    assert!(database.muster(&["migrate"]).await?.status.success());
    let after = database.muster(&["migrate", "--check"]).await?;
    assert!(after.status.success(), "{}", complaint(&after));
    assert_eq!(lines(&after), ["the database is current"]);
    database.drop().await
}

#[tokio::test]
async fn a_newer_database_is_refused_naming_both_versions() -> anyhow::Result<()> {
    let database = EmptyDatabase::create().await?;
    assert!(database.muster(&["migrate"]).await?.status.success());
    let mut connection = database.connect().await?;
    let known: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut connection).await?;
    connection
        .execute("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (29990101000000, 'later', true, '', 0)")
        .await?;
    for arguments in [&["migrate"][..], &["migrate", "--check"], &["serve"]] {
        let output = database.muster(arguments).await?;
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("29990101000000") && complaint.contains(&known.to_string()), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
    drop(connection);
    database.drop().await
}

#[tokio::test]
async fn a_refused_migration_leaves_the_ones_before_it_and_names_itself() -> anyhow::Result<()> {
    let database = EmptyDatabase::create().await?;
    let mut connection = database.connect().await?;
    connection.execute("CREATE TABLE outbox (in_the_way boolean)").await?;
    let failed = database.muster(&["migrate"]).await?;
    assert_eq!(failed.status.code(), Some(1));
    assert!(complaint(&failed).contains("relation \"outbox\" already exists"), "{}", complaint(&failed));

    connection.execute("DROP TABLE outbox").await?;
    let mended = database.muster(&["migrate"]).await?;
    assert!(mended.status.success(), "{}", complaint(&mended));
    let applied = lines(&mended).len();
    assert!(applied > 0 && applied < files()?, "only the rest is applied");
    drop(connection);
    database.drop().await
}

/// Columns whose values are the program's own business from one version to the next.
const MOVING: [(&str, &str); 3] =
    [("account_feed", "access_version"), ("permission", "description"), ("permission", "account_wide")];

/// All rows of all tables, each as JSON.
async fn rows(connection: &mut PgConnection) -> anyhow::Result<Vec<(String, Vec<Value>)>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations' ORDER BY 1",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut all = Vec::new();
    for table in tables {
        let statement = AssertSqlSafe(format!("SELECT to_jsonb(t) FROM public.{table} t"));
        let mut rows: Vec<Value> = sqlx::query_scalar(statement).fetch_all(&mut *connection).await?;
        for (_, column) in MOVING.iter().filter(|(of, _)| *of == table) {
            rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| drop(row.remove(*column)));
        }
        all.push((table, rows));
    }
    Ok(all)
}

/// Whether a row of before is within one of now: columns may have been added.
fn is_kept(before: &Value, now: &[Value]) -> bool {
    let (Some(before), now) = (before.as_object(), now.iter().filter_map(Value::as_object)) else { return false };
    now.into_iter().any(|now| before.iter().all(|(column, value)| now.get(column) == Some(value)))
}

/// A dump of the demo data is kept for each version that changed the schema much.
#[tokio::test]
async fn the_data_of_earlier_versions_migrates_and_none_of_it_is_lost() -> anyhow::Result<()> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/dumps");
    let mut dumps = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let database = EmptyDatabase::create().await?;
        let dump = std::fs::read_to_string(&path)?;
        // It empties the search path of the connection.
        database.connect().await?.execute(AssertSqlSafe(dump)).await?;
        let before = rows(&mut database.connect().await?).await?;
        ensure!(before.iter().any(|(table, rows)| table == "member" && rows.len() >= 40), "{}", path.display());
        let migrated = database.muster(&["migrate"]).await?;
        ensure!(migrated.status.success(), "{}: {}", path.display(), complaint(&migrated));
        let after = rows(&mut database.connect().await?).await?;
        let mut lost = Vec::new();
        for (table, old) in &before {
            let now = after.iter().find(|(name, _)| name == table).map(|(_, rows)| rows.as_slice()).unwrap_or_default();
            lost.extend(old.iter().filter(|row| !is_kept(row, now)).map(|row| format!("{table}: {row}")));
        }
        assert!(lost.is_empty(), "{}:\n{}", path.display(), lost.join("\n"));
        let sound = database.muster(&["verify"]).await?;
        ensure!(sound.status.success(), "{}: {}{}", path.display(), lines(&sound).join("\n"), complaint(&sound));
        database.drop().await?;
        dumps += 1;
    }
    assert!(dumps > 0);
    Ok(())
}
