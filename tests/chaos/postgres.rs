//! The database of a round: a copy of a migrated one, on a PostgreSQL of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::process::Command;

use super::cluster::program;
use super::keeper::Keeper;
use crate::support::mail_server::Folder;
use crate::support::server::{Postgres, free_port};

/// The database's name.
const NAME: &str = "muster";

/// How a database on this port is reached.
pub(super) fn url(port: u16) -> String {
    format!("postgres://muster@127.0.0.1:{port}/{NAME}")
}

/// Runs a server over a data folder.
pub(super) fn keep(programs: &Postgres, data: &Path, port: u16) -> Keeper {
    let (programs, data) = (programs.clone(), data.to_owned());
    Keeper::start("postgres", Box::new(move || Ok(programs.serve(&data, port)?.into())))
}

/// Makes a data folder `postgres` with a migrated database, to be copied.
pub(super) async fn template(programs: &Postgres) -> Result<Folder> {
    let folder = Folder::new();
    let data = folder.path().join("postgres");
    programs.init(&data)?;
    let port = free_port();
    let server = keep(programs, &data, port);
    let mut conn = connect(&format!("postgres://muster@127.0.0.1:{port}/postgres")).await?;
    conn.execute("CREATE DATABASE muster").await?;
    conn.close().await?;
    let migrated = Command::new(program()?).arg("migrate").env_clear().env("DATABASE_URL", url(port)).output().await?;
    ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    server.end("INT").await?;
    Ok(folder)
}

/// The whole database as text.
pub(super) async fn dump(programs: &Postgres, url: &str) -> Result<Vec<u8>> {
    let mut dump = Command::from(programs.command("pg_dump")?);
    let output = dump.args(["-d", url]).stdout(Stdio::piped()).output().await?;
    ensure!(output.status.success(), "pg_dump fails");
    Ok(output.stdout)
}

/// A connection, as soon as there can be one.
async fn connect(url: &str) -> Result<PgConnection> {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        match PgConnection::connect(url).await {
            Ok(conn) => return Ok(conn),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
