//! Keeps a program running, as the service manager of a host does, and does to it what hosts do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::guard::Guard;
use crate::support::server::{family, signal};

/// Pause before a program that ended by itself is started again.
const RESTART: Duration = Duration::from_millis(500);

/// Makes the command that starts the program.
type Start = Box<dyn Fn() -> Result<Command> + Send + Sync>;

/// What is done while the program is down.
pub(super) type Meanwhile = Box<dyn FnOnce() -> Result<()> + Send>;

/// What to do once it has ended on purpose.
struct Down {
    pause: Duration,
    meanwhile: Meanwhile,
}

struct State {
    name: String,
    /// Zero while it does not run.
    pid: AtomicU32,
    /// How often it ended though nobody had ended it.
    deaths: AtomicU32,
    down: std::sync::Mutex<Option<Down>>,
    /// Whoever does something to the program holds this.
    hands: Mutex<()>,
}

/// A program that runs until [`Keeper::end`], or as long as this value.
pub(super) struct Keeper {
    state: Arc<State>,
    end: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Keeper {
    pub(super) fn start(name: &str, start: Start) -> Self {
        let state = Arc::new(State {
            name: name.to_owned(),
            pid: AtomicU32::new(0),
            deaths: AtomicU32::new(0),
            down: std::sync::Mutex::default(),
            hands: Mutex::default(),
        });
        let end = CancellationToken::new();
        let task = tokio::spawn(keep(Arc::clone(&state), start, end.clone()));
        Self { state, end, task }
    }

    pub(super) fn name(&self) -> &str {
        &self.state.name
    }

    pub(super) fn deaths(&self) -> u32 {
        self.state.deaths.load(Ordering::SeqCst)
    }

    /// Ends it by a signal, does `meanwhile`, and starts it again after a pause.
    pub(super) async fn fell(&self, by: &str, pause: Duration, meanwhile: Meanwhile) -> Result<()> {
        let _hands = self.state.hands.lock().await;
        let pid = self.state.pid.load(Ordering::SeqCst);
        if pid == 0 {
            return Ok(());
        }
        *self.state.down.lock().unwrap() = Some(Down { pause, meanwhile });
        signal(by, &[pid])
    }

    /// Stops it, and what it has started, where it stands, for a while.
    pub(super) async fn freeze(&self, time: Duration) -> Result<()> {
        let _hands = self.state.hands.lock().await;
        let pid = self.state.pid.load(Ordering::SeqCst);
        if pid == 0 {
            return Ok(());
        }
        // The parent first: then there are no more children than are found.
        signal("STOP", &[pid])?;
        let family = family(pid);
        signal("STOP", &family)?;
        tokio::time::sleep(time).await;
        signal("CONT", &family)
    }

    /// Asks it to end, and waits until it has.
    pub(super) async fn end(self, by: &str) -> Result<()> {
        self.end.cancel();
        let pid = self.state.pid.load(Ordering::SeqCst);
        if pid != 0 {
            signal(by, &[pid])?;
        }
        let ended = tokio::time::timeout(Duration::from_mins(1), self.task).await;
        ended.with_context(|| format!("{} does not end", self.state.name))??
    }
}

async fn keep(state: Arc<State>, start: Start, end: CancellationToken) -> Result<()> {
    loop {
        let mut child = start()?.spawn().with_context(|| state.name.clone())?;
        let pid = child.id().context("it was just started")?;
        let guard = Guard::over(pid)?;
        state.pid.store(pid, Ordering::SeqCst);
        let status = child.wait().await?;
        state.pid.store(0, Ordering::SeqCst);
        guard.dismiss();
        let down = state.down.lock().unwrap().take();
        if end.is_cancelled() {
            ensure!(status.success(), "{} ended with {status}", state.name);
            return Ok(());
        }
        let pause = if let Some(down) = down {
            (down.meanwhile)()?;
            down.pause
        } else {
            println!("  {} ended by itself with {status}", state.name);
            state.deaths.fetch_add(1, Ordering::SeqCst);
            RESTART
        };
        if end.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Ok(());
        }
    }
}
