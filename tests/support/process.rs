//! Real processes of the program, on the database, mailbox and files of an installation of their own.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use domain::infra::config::MailTransport;
use secrecy::ExposeSecret as _;
use tokio::process::{Child, Command};

use super::app::{App, Options};

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// The number of the signal by which a process aborts.
const SIGABRT: i32 = 6;

/// What processes share; talk to them through [`Fleet::app`], whose `url` is that of the first API.
pub(crate) struct Fleet {
    pub(crate) app: App,
    /// Variables of all processes besides the usual ones, or instead of them.
    pub(crate) extra: Vec<(&'static str, String)>,
    redis: Option<(String, String)>,
    started: usize,
}

/// A running `muster api`, `worker` or `serve`. It is killed with this value.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// Where its API listens; empty for a worker.
    pub(crate) url: String,
}

impl Fleet {
    /// No process yet. With Redis, its keys are this installation's own.
    pub(crate) async fn new(redis: bool, options: Options) -> Result<Self> {
        let app = App::with(Options { api: false, worker: false, ..options }).await?;
        let redis = if redis {
            let url = std::env::var("REDIS_URL").context("REDIS_URL is set by ./dev test")?;
            Some((url, format!("test-{}", uuid::Uuid::new_v4().simple())))
        } else {
            None
        };
        Ok(Self { app, extra: Vec::new(), redis, started: 0 })
    }

    /// Uses another Redis than that of all tests.
    pub(crate) fn use_redis(&mut self, url: &str) {
        self.redis = Some((url.to_owned(), "test".to_owned()));
    }

    /// Address and prefix of its Redis.
    pub(crate) fn redis(&self) -> Option<(&str, &str)> {
        self.redis.as_ref().map(|(url, prefix)| (url.as_str(), prefix.as_str()))
    }

    /// Starts a process, and waits until its API is ready.
    pub(crate) async fn start(&mut self, role: &str) -> Result<Process> {
        let mut process = self.spawn(role)?;
        if role != "worker" {
            self.ready(&mut process).await?;
        }
        Ok(process)
    }

    /// Waits until the API of a process is ready.
    pub(crate) async fn ready(&mut self, process: &mut Process) -> Result<()> {
        process.url = process.listening().await?;
        process.ready(&self.app.http).await?;
        if self.app.url.is_empty() {
            self.app.url.clone_from(&process.url);
        }
        Ok(())
    }

    /// Starts a process, and waits for nothing.
    pub(crate) fn spawn(&mut self, role: &str) -> Result<Process> {
        let folder = &self.app.config.data_dir;
        std::fs::create_dir_all(folder)?;
        let log = folder.join(format!("{role}-{}.log", self.started));
        self.started += 1;
        let program = std::env::var("MUSTER_BIN").context("MUSTER_BIN is set by ./dev test")?;
        let child = Command::new(program)
            .arg(role)
            .current_dir(folder)
            .env_clear()
            .envs(self.settings())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Process { child, log, url: String::new() })
    }

    /// [`Fleet::start`] of a process that stops at a fail point, as `name=return(abort)` says.
    pub(crate) async fn start_faulty(&mut self, role: &str, fail_points: &str) -> Result<Process> {
        self.extra.push(("FAILPOINTS", fail_points.to_owned()));
        let process = self.start(role).await;
        self.extra.pop();
        process
    }

    /// Runs a command to its end; answers what it printed.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let program = std::env::var("MUSTER_BIN").context("MUSTER_BIN is set by ./dev test")?;
        let output = Command::new(program).args(arguments).env_clear().envs(self.settings()).output().await?;
        anyhow::ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let config = &self.app.config;
        let mut settings = vec![
            ("DATABASE_URL", config.database_url.expose_secret().to_owned()),
            ("MUSTER_DATA_DIR", config.data_dir.to_string_lossy().into_owned()),
            // That of the tests' own database, so that a test can derive a link.
            ("MUSTER_INSTALLATION_KEY", "07".repeat(32)),
            ("MUSTER_HTTP_LISTEN", "127.0.0.1:0".to_owned()),
            ("MUSTER_HTTP_DRAIN_SECONDS", config.http.drain_seconds.to_string()),
            ("MUSTER_PASSWORD_MEMORY_KIB", config.password.memory_kib.to_string()),
            ("MUSTER_PASSWORD_PASSES", config.password.passes.to_string()),
            ("MUSTER_LIMITS_RATE_LIMITS", config.limits.rate_limits.to_string()),
        ];
        match config.mail.transport {
            MailTransport::Outbox => settings.push(("MUSTER_MAIL_TRANSPORT", "outbox".to_owned())),
            MailTransport::Smtp => settings.push(("MUSTER_MAIL_SMTP_PORT", config.mail.smtp.port.to_string())),
        }
        if let Some((url, prefix)) = &self.redis {
            settings.push(("REDIS_URL", url.clone()));
            settings.push(("MUSTER_REDIS_PREFIX", prefix.clone()));
        }
        settings.extend(self.extra.iter().cloned());
        settings
    }

    /// Ends the test: nothing may be left to do, nothing may have died, and every process ends in order.
    pub(crate) async fn finish(self, processes: Vec<Process>) -> Result<()> {
        self.app.settle().await?;
        for process in processes {
            process.stop().await?;
        }
        if let Some((url, prefix)) = &self.redis {
            forget(url, prefix).await?;
        }
        self.app.finish().await
    }
}

impl Process {
    /// Bytes of memory that it has in use.
    pub(crate) fn memory(&self) -> Result<u64> {
        let id = self.child.id().context("it has ended by itself")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The address it says it listens on.
    async fn listening(&mut self) -> Result<String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            // `http.listen=ADDRESS` or, in JSON, `"http.listen":"ADDRESS"`.
            if let Some((_, rest)) = log.split_once("http.listen")
                && let Some((address, _)) = rest.trim_start_matches(['=', '"', ':']).split_once(['"', ' ', '\n'])
            {
                return Ok(format!("http://{address}"));
            }
            if self.child.try_wait()?.is_some() || tokio::time::Instant::now() > deadline {
                bail!("it does not start: {log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ready(&self, http: &reqwest::Client) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !http.get(format!("{}/readyz", self.url)).send().await.is_ok_and(|answer| answer.status().is_success()) {
            if tokio::time::Instant::now() > deadline {
                bail!("it does not become ready: {}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Kills it where it stands (SIGKILL).
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Waits until it has aborted, as a fail point makes it do.
    pub(crate) async fn aborted(mut self) -> Result<()> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.with_context(|| format!("it does not end: {}", self.log()))??;
        anyhow::ensure!(status.signal() == Some(SIGABRT), "{status}: {}", self.log());
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits until it has, with success.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let id = self.child.id().context("it has ended by itself")?;
        // Still ours: it was not waited for, so its id cannot have been given to another.
        let asked = Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        anyhow::ensure!(asked.success(), "it could not be asked to end");
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("it does not end")??;
        anyhow::ensure!(status.success(), "{status}: {}", self.log());
        Ok(())
    }
}

/// Removes the keys of an installation.
async fn forget(url: &str, prefix: &str) -> Result<()> {
    let mut redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut redis).await?;
    for key in keys {
        let _: i64 = redis::cmd("DEL").arg(key).query_async(&mut redis).await?;
    }
    Ok(())
}
