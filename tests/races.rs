//! Races, with real parallel connections and, where it matters, real processes.

use anyhow::{Result, ensure};
use domain::verify::{self, Level};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::support::app::Answer;

mod mix;
mod pairs;
mod seats;

/// Whether somebody was told to try again later: the only top-level error a race may surface.
#[track_caller]
fn was_busy(answer: &Answer) -> bool {
    let errors = answer.errors();
    assert!(errors.iter().all(|code| code == "SERVICE_UNAVAILABLE"), "{}", answer.body);
    !errors.is_empty()
}

/// What must always hold, holds; as often as asked, also while others write.
async fn check_invariants(pool: &PgPool) -> Result<()> {
    let mut conn = PgConnection::connect_with(&pool.connect_options()).await?;
    let mut broken = Vec::new();
    verify::run(&mut conn, None, |finding| {
        if finding.level == Level::Broken {
            broken.push(finding);
        }
    })
    .await?;
    ensure!(broken.is_empty(), "{broken:#?}");
    Ok(())
}
