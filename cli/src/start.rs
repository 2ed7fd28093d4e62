//! Starting while the database is away, as after a power cut: a process waits for a while rather than end at once.

use std::io::{Error as IoError, ErrorKind};
use std::time::Duration;

use domain::infra::db::is_away;
use domain::infra::migrate::MigrateError;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a process waits for its database before it ends for whoever runs it to notice. Recovery after a crash and the change
/// to a standby take less.
const PATIENCE: Duration = Duration::from_mins(5);

/// How long one try may take: a host that is gone answers nothing.
const TRY: Duration = Duration::from_secs(10);

/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is said that the database is still away.
const REMINDER: Duration = Duration::from_secs(30);

/// A start that waits for the database.
pub(crate) struct Start<'a> {
    stop: &'a CancellationToken,
    began: Instant,
    patience: Duration,
    reminded: Option<Instant>,
}

impl<'a> Start<'a> {
    pub(crate) fn new(stop: &'a CancellationToken) -> Self {
        Self { stop, began: Instant::now(), patience: PATIENCE, reminded: None }
    }

    /// What `open` answers, tried again while the database is away; nothing if the process is told to stop meanwhile.
    ///
    /// # Errors
    /// Whatever waiting does not mend, at once; that the database is away, once the start has waited long enough.
    pub(crate) async fn open<T>(
        &mut self,
        open: impl AsyncFn() -> Result<T, MigrateError>,
    ) -> anyhow::Result<Option<T>> {
        loop {
            let Some(tried) = self.stop.run_until_cancelled(timeout(TRY, open())).await else { return Ok(None) };
            let error = match tried {
                Ok(Ok(opened)) => {
                    self.found();
                    return Ok(Some(opened));
                }
                Ok(Err(MigrateError::Database(error))) if is_away(&error) => error,
                Ok(Err(error)) => return Err(error.into()),
                Err(_elapsed) => IoError::new(ErrorKind::TimedOut, "it does not answer").into(),
            };
            let error = MigrateError::Database(error);
            if self.began.elapsed() > self.patience {
                anyhow::bail!("the database did not come back while this start waited for it: {error}");
            }
            self.remind(&error);
            self.stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }

    fn remind(&mut self, error: &MigrateError) {
        if self.reminded.is_none_or(|at| at.elapsed() > REMINDER) {
            let left = self.patience.saturating_sub(self.began.elapsed()).as_secs();
            tracing::warn!(%error, gives_up_after_seconds = left, "the database is away; waiting for it");
            self.reminded = Some(Instant::now());
        }
    }

    fn found(&mut self) {
        if self.reminded.take().is_some() {
            tracing::info!(waited_seconds = self.began.elapsed().as_secs(), "the database is there");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn away() -> MigrateError {
        MigrateError::Database(IoError::from(ErrorKind::ConnectionRefused).into())
    }

    #[tokio::test]
    async fn a_start_waits_for_what_comes_back_and_for_nothing_else() {
        let stop = CancellationToken::new();
        let tries = Cell::new(0);
        let count = || tries.replace(tries.get() + 1);
        let opened = Start::new(&stop).open(async || if count() < 2 { Err(away()) } else { Ok("there") }).await;
        assert_eq!((opened.unwrap(), tries.get()), (Some("there"), 3));

        let wrong = Start::new(&stop).open(async || Err::<(), _>(MigrateError::Changed(1))).await;
        assert!(wrong.unwrap_err().to_string().contains("migration 1"));

        let mut short = Start { patience: Duration::ZERO, ..Start::new(&stop) };
        let gone = short.open(async || Err::<(), _>(away())).await.unwrap_err();
        assert!(format!("{gone:#}").ends_with("cannot connect to the database: connection refused"), "{gone:#}");

        stop.cancel();
        assert!(Start::new(&stop).open(async || Err::<(), _>(away())).await.unwrap().is_none());
    }
}
