//! An installation of its own: PostgreSQL as careful as in production, Redis, a mail server, two APIs and two workers, and a
//! proxy on every connection between them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::keeper::{Keeper, Meanwhile};
use super::mail::MailServer;
use super::postgres;
use super::proxy::Proxy;
use crate::support::mail_server::Folder;
use crate::support::server::{self, Postgres, free_port};

/// Nothing here takes this long while nothing is disturbed.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is not disturbed is looked at this often.
const LOOK: Duration = Duration::from_millis(20);

/// The clock that a process sees, if it can be moved.
const FAKE_TIME: &str = "faketime/libfaketimeMT.so.1";

/// A process of the program and its connections.
pub(super) struct Node {
    pub(super) keeper: Keeper,
    pub(super) to_postgres: Proxy,
    pub(super) to_redis: Proxy,
    pub(super) to_mail: Proxy,
    /// Where its API listens; empty for a worker.
    pub(super) url: String,
    clock: PathBuf,
    log: PathBuf,
}

impl Node {
    /// Moves the clock of the process.
    pub(super) fn set_clock(&self, seconds: i64) -> Result<()> {
        set_clock(&self.clock, seconds)
    }
}

/// A running installation.
pub(super) struct Cluster {
    pub(super) postgres: Keeper,
    pub(super) redis: Keeper,
    /// Two APIs, then two workers.
    pub(super) nodes: Vec<Node>,
    pub(super) mail: MailServer,
    /// The database, without a proxy in between.
    pub(super) database_url: String,
    /// Redis, without a proxy in between.
    pub(super) redis_url: String,
    /// Whether clocks can be moved.
    pub(super) fake_time: bool,
    settings: Vec<(String, String)>,
    folder: Folder,
}

impl Cluster {
    /// Starts everything on a copy of a migrated database.
    pub(super) async fn start(programs: &Postgres, template: &Path) -> Result<Self> {
        let folder = Folder::new();
        let path = folder.path().to_owned();
        let data = path.join("postgres");
        copy(template, &data).await?;
        let (postgres_port, redis_port) = (free_port(), free_port());
        let postgres = postgres::keep(programs, &data, postgres_port);
        let redis_data = path.join("redis");
        std::fs::create_dir(&redis_data)?;
        let redis = Keeper::start("redis", Box::new(move || Ok(server::redis(&redis_data, redis_port, true).into())));
        let mail = MailServer::start().await?;
        let fake_time = fake_time();
        let mut cluster = Self {
            postgres,
            redis,
            nodes: Vec::new(),
            mail,
            database_url: postgres::url(postgres_port),
            redis_url: format!("redis://127.0.0.1:{redis_port}/0"),
            fake_time: fake_time.is_some(),
            settings: Vec::new(),
            folder,
        };
        listening(postgres_port).await?;
        listening(redis_port).await?;
        cluster.settings = cluster.settings()?;
        for (role, number) in [("api", 0), ("api", 1), ("worker", 0), ("worker", 1)] {
            let node = cluster.node(role, number, (postgres_port, redis_port), fake_time.as_deref()).await?;
            cluster.nodes.push(node);
        }
        cluster.ready(PATIENCE).await?;
        Ok(cluster)
    }

    /// What all processes are told.
    fn settings(&self) -> Result<Vec<(String, String)>> {
        let public = free_port();
        let settings = [
            ("MUSTER_DATA_DIR", self.folder.path().join("data").to_string_lossy().into_owned()),
            ("MUSTER_INSTALLATION_KEY", "07".repeat(32)),
            ("MUSTER_HTTP_PUBLIC_URL", format!("http://127.0.0.1:{public}")),
            ("MUSTER_MAIL_SMTP_HOST", "127.0.0.1".to_owned()),
            ("MUSTER_PASSWORD_MEMORY_KIB", "64".to_owned()),
            ("MUSTER_PASSWORD_PASSES", "1".to_owned()),
            ("MUSTER_LIMITS_RATE_LIMITS", "false".to_owned()),
            ("MUSTER_REDIS_PREFIX", "chaos".to_owned()),
        ];
        std::fs::create_dir_all(self.folder.path().join("data"))?;
        Ok(settings.map(|(name, value)| (name.to_owned(), value)).into())
    }

    async fn node(&self, role: &str, number: u32, servers: (u16, u16), fake_time: Option<&Path>) -> Result<Node> {
        let name = format!("{role}-{number}");
        let (clock, log) = (self.file(&format!("{name}.clock")), self.file(&format!("{name}.log")));
        set_clock(&clock, 0)?;
        let (to_postgres, to_redis) = (Proxy::start(servers.0).await?, Proxy::start(servers.1).await?);
        let to_mail = Proxy::start(self.mail.port).await?;
        let listen = format!("127.0.0.1:{}", free_port());
        let mut settings = self.settings.clone();
        settings.extend([
            ("DATABASE_URL".to_owned(), postgres::url(to_postgres.port)),
            ("REDIS_URL".to_owned(), format!("redis://127.0.0.1:{}/0", to_redis.port)),
            ("MUSTER_MAIL_SMTP_PORT".to_owned(), to_mail.port.to_string()),
            ("MUSTER_HTTP_LISTEN".to_owned(), listen.clone()),
        ]);
        if let Some(library) = fake_time {
            settings.extend([
                ("LD_PRELOAD".to_owned(), library.to_string_lossy().into_owned()),
                ("FAKETIME_TIMESTAMP_FILE".to_owned(), clock.to_string_lossy().into_owned()),
                ("FAKETIME_CACHE_DURATION".to_owned(), "1".to_owned()),
                ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
                // The times of files are those of a file server with a clock of its own.
                ("NO_FAKE_STAT".to_owned(), "1".to_owned()),
            ]);
        }
        let url = if role == "api" { format!("http://{listen}") } else { String::new() };
        let (role, output, folder) = (role.to_owned(), log.clone(), self.folder.path().to_owned());
        let start = move || {
            let log = File::options().append(true).create(true).open(&output)?;
            let mut command = Command::new(program()?);
            command.arg(&role).current_dir(&folder).env_clear().envs(settings.clone());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            Ok(command)
        };
        let keeper = Keeper::start(&name, Box::new(start));
        Ok(Node { keeper, to_postgres, to_redis, to_mail, url, clock, log })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The addresses of the APIs.
    pub(super) fn urls(&self) -> Vec<String> {
        self.nodes.iter().filter(|node| !node.url.is_empty()).map(|node| node.url.clone()).collect()
    }

    /// Waits until every API says that it is ready.
    pub(super) async fn ready(&self, patience: Duration) -> Result<()> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let deadline = tokio::time::Instant::now() + patience;
        for url in self.urls() {
            while !http.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success()) {
                if tokio::time::Instant::now() > deadline {
                    bail!("an API is not ready: {}", self.logs().join("\n"));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// What a command of the program prints, run beside the processes and past the proxies.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program()?);
        command.args(arguments).env_clear().envs(self.settings.clone());
        command.env("DATABASE_URL", &self.database_url).env("REDIS_URL", &self.redis_url);
        let output = command.output().await?;
        let printed = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{arguments:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        Ok(printed)
    }

    /// What each process of the program has logged.
    pub(super) fn logs(&self) -> Vec<String> {
        self.nodes.iter().map(|node| std::fs::read_to_string(&node.log).unwrap_or_default()).collect()
    }

    /// The names of all that is kept running, with how often each ended though nobody had ended it; those that never did are left out.
    pub(super) fn ended_by_themselves(&self) -> Vec<(&str, u32)> {
        let keepers = self.nodes.iter().map(|node| &node.keeper).chain([&self.postgres, &self.redis]);
        keepers.map(|keeper| (keeper.name(), keeper.deaths())).filter(|(_, deaths)| *deaths > 0).collect()
    }

    /// Everything that was ever written to Redis's disk since it last started empty.
    pub(super) fn redis_files(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for entry in std::fs::read_dir(self.file("redis").join("appendonlydir"))? {
            bytes.extend(std::fs::read(entry?.path())?);
        }
        Ok(bytes)
    }

    /// Forgets what Redis has on its disk, while it is down.
    pub(super) fn empty_redis(&self) -> Meanwhile {
        let folder = self.file("redis").join("appendonlydir");
        Box::new(move || Ok(std::fs::remove_dir_all(folder)?))
    }

    /// Ends everything; every process ends in order.
    pub(super) async fn end(self) -> Result<()> {
        for node in self.nodes {
            node.keeper.end("TERM").await?;
        }
        self.redis.end("TERM").await?;
        self.postgres.end("INT").await
    }
}

pub(super) fn program() -> Result<String> {
    std::env::var("MUSTER_BIN").context("MUSTER_BIN is set by ./dev test")
}

fn set_clock(file: &Path, seconds: i64) -> Result<()> {
    let partial = file.with_extension("partial");
    std::fs::write(&partial, format!("{seconds:+}\n"))?;
    Ok(std::fs::rename(partial, file)?)
}

/// The library that moves a process's clock, from the package `faketime`.
fn fake_time() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.chain([PathBuf::from("/usr/lib")]).map(|folder| folder.join(FAKE_TIME)).find(|library| library.exists())
}

/// Waits until somebody listens.
async fn listening(port: u16) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        ensure!(tokio::time::Instant::now() < deadline, "nobody listens on port {port}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).args([from, to]).status().await?;
    ensure!(copied.success(), "the database's template cannot be copied");
    Ok(())
}
