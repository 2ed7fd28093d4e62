//! Plays a payment provider, for trying things out and for tests. What it does depends on the payment method:
//!
//! | method | what it does |
//! |---|---|
//! | none, `sandbox_ok` | takes the money and says so |
//! | `sandbox_declined` | declines |
//! | `sandbox_twice` | takes the money once and says so twice |
//! | `sandbox_time_out` | does not answer the first time, and takes nothing; does the second time |
//! | `sandbox_slow` | does not answer, and takes the money a minute after it was asked |
//! | `sandbox_lost` | takes the money, and the answer is lost |
//! | `sandbox_vanished` | the first request is lost before anything is taken |
//! | `sandbox_forgotten` | every request is lost, and it never knows anything |
//!
//! What it took lies in a folder, a file per key: like a provider it outlives whoever asks.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use domain::billing::charge::{Ask, Outcome};
use domain::id::AttemptId;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use tokio::io::AsyncWriteExt as _;

use super::{Answer, Found, Gateway};

/// How long `sandbox_slow` takes.
const SLOW: Duration = Duration::from_mins(1);

/// See the module.
#[derive(Clone, Debug)]
pub struct Sandbox {
    folder: PathBuf,
}

/// The files of a key.
#[derive(Clone, Copy)]
enum Mark {
    /// It was asked before.
    Asked,
    /// The money was taken, or will be a minute after the file was written.
    Taken,
    /// The money was given back.
    Refunded,
}

impl Mark {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Taken => "taken",
            Self::Refunded => "refunded",
        }
    }
}

impl Sandbox {
    /// One that remembers in a folder, which it creates.
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, key: AttemptId, mark: Mark) -> PathBuf {
        self.folder.join(format!("{key}.{}", mark.suffix()))
    }

    /// Writes a file of a key once. True: it was not there.
    async fn mark(&self, key: AttemptId, mark: Mark, text: &str) -> std::io::Result<bool> {
        tokio::fs::create_dir_all(&self.folder).await?;
        let file = tokio::fs::OpenOptions::new().write(true).create_new(true).open(self.path(key, mark)).await;
        match file {
            Ok(mut file) => {
                file.write_all(text.as_bytes()).await?;
                file.sync_all().await?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn age(&self, key: AttemptId, mark: Mark) -> Option<Duration> {
        let written = tokio::fs::metadata(self.path(key, mark)).await.ok()?.modified().ok()?;
        Some(SystemTime::now().duration_since(written).unwrap_or_default())
    }

    async fn play(&self, ask: &Ask) -> std::io::Result<Answer> {
        let took = Answer::Outcomes(vec![Outcome::Succeeded { collected: true }]);
        let key = ask.attempt_id;
        let receipt = format!("{} {}\n", ask.amount, ask.currency);
        match ask.payment_method.as_deref().unwrap_or("sandbox_ok") {
            "sandbox_ok" => self.mark(key, Mark::Taken, &receipt).await.map(|_| took),
            "sandbox_twice" => {
                self.mark(key, Mark::Taken, &receipt).await?;
                let outcome = Outcome::Succeeded { collected: true };
                Ok(Answer::Outcomes(vec![outcome.clone(), outcome]))
            }
            "sandbox_time_out" if self.mark(key, Mark::Asked, "").await? => std::future::pending().await,
            "sandbox_slow" => {
                self.mark(key, Mark::Taken, &receipt).await?;
                std::future::pending().await
            }
            "sandbox_lost" => self.mark(key, Mark::Taken, &receipt).await.map(|_| Answer::Unknown),
            "sandbox_vanished" if self.mark(key, Mark::Asked, "").await? => Ok(Answer::Unknown),
            "sandbox_time_out" | "sandbox_vanished" => self.mark(key, Mark::Taken, &receipt).await.map(|_| took),
            "sandbox_forgotten" => Ok(Answer::Unknown),
            "sandbox_declined" => Ok(declined("CARD_DECLINED")),
            _ => Ok(declined("UNKNOWN_PAYMENT_METHOD")),
        }
    }
}

fn declined(code: &str) -> Answer {
    Answer::Outcomes(vec![Outcome::Declined { code: code.to_owned() }])
}

impl Gateway for Sandbox {
    fn key_life(&self) -> SignedDuration {
        SignedDuration::from_hours(24)
    }

    fn charge<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Answer> {
        async move {
            self.play(ask).await.unwrap_or_else(|error| {
                tracing::error!(%error, "the sandbox cannot remember what it did");
                Answer::Unknown
            })
        }
        .boxed()
    }

    fn look_up<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Found> {
        async move {
            match self.age(ask.attempt_id, Mark::Taken).await {
                Some(age) if ask.payment_method.as_deref() == Some("sandbox_slow") && age < SLOW => Found::Pending,
                Some(_) => Found::Outcome(Outcome::Succeeded { collected: true }),
                None => Found::Nothing,
            }
        }
        .boxed()
    }

    fn refund(&self, attempt: AttemptId) -> BoxFuture<'_, bool> {
        async move { self.mark(attempt, Mark::Refunded, "").await.is_ok() }.boxed()
    }
}
