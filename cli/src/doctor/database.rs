//! PostgreSQL: reachable, new enough, migrated, and the runtime role usable.

use domain::infra::config::Config;
use domain::infra::migrate::{self, MigrateError};
use sqlx::{Executor as _, PgConnection};

use super::{Finding, PATIENCE};

const OLDEST: i32 = 150_000;

pub(super) async fn inspect(config: &Config) -> Vec<Finding> {
    let mend = "start PostgreSQL, create the database if it is missing (createdb muster), or correct DATABASE_URL";
    match tokio::time::timeout(PATIENCE, migrate::connect(config)).await {
        Err(_) => vec![Finding::problem(format!("no answer within {} s", PATIENCE.as_secs()), mend)],
        Ok(Err(error)) => vec![Finding::problem(migrate::describe(&error), mend)],
        Ok(Ok(mut database)) => match look(config, &mut database).await {
            Ok(findings) => findings,
            Err(error) => {
                vec![Finding::problem(migrate::describe(&error), "give the connecting role the rights it lacks")]
            }
        },
    }
}

async fn look(config: &Config, database: &mut PgConnection) -> Result<Vec<Finding>, sqlx::Error> {
    let (version, name, encoding, fsync, most): (i32, String, String, String, i32) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
         current_setting('server_encoding'), current_setting('fsync'), current_setting('max_connections')::int",
    )
    .fetch_one(&mut *database)
    .await?;
    let mut findings = vec![if version >= OLDEST {
        Finding::ok(format!("PostgreSQL {name}"))
    } else {
        Finding::problem(format!("PostgreSQL {name} is too old"), "upgrade to 15 or newer")
    }];
    if encoding != "UTF8" {
        findings.push(Finding::problem(
            format!("the database is encoded in {encoding}"),
            "create it with: createdb -E UTF8 -T template0",
        ));
    }
    if fsync == "off" {
        findings.push(Finding::warning(
            "fsync is off: a crash of the server can destroy the database",
            "only for development",
        ));
    }
    // `muster serve`: those of the API, as many of the worker, those of the queue and the feed, that over which it is asked whether
    // the database answers, and that of the metrics.
    let more = worker::OWN_CONNECTIONS
        + worker::job::export::CONNECTIONS
        + api::live::CONNECTIONS
        + 1
        + u32::from(config.metrics.listen.is_some());
    let wanted = config.database_connections.saturating_mul(2).saturating_add(more);
    if i64::from(wanted) + 5 > i64::from(most) {
        findings.push(Finding::warning(
            format!("a process opens up to {wanted} connections and the server allows {most} in all"),
            "lower database_connections or raise max_connections",
        ));
    }
    findings.push(migrations(database).await?);
    findings.push(runtime_role(database).await?);
    Ok(findings)
}

async fn migrations(database: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    match migrate::require_current(database).await {
        Ok(()) => Ok(Finding::ok("all migrations are applied")),
        Err(MigrateError::Database(error)) => Err(error),
        Err(error @ MigrateError::Newer { .. }) => Ok(Finding::problem(error.to_string(), "nothing was changed")),
        Err(error) => {
            Ok(Finding::problem(error.to_string(), "it is safe to run several times and on several hosts at once"))
        }
    }
}

/// The role that the service takes on, so that it cannot rewrite history.
async fn runtime_role(database: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let (role, exists): (String, bool) = sqlx::query_as(
        "SELECT quote_ident(current_user), EXISTS (SELECT FROM pg_roles WHERE rolname = 'muster_runtime')",
    )
    .fetch_one(&mut *database)
    .await?;
    if !exists {
        return Ok(Finding::problem(
            "the role muster_runtime is missing",
            "run `muster migrate`, which creates it or says who can",
        ));
    }
    Ok(match database.execute("SET ROLE muster_runtime").await {
        Ok(_) => Finding::ok("the role muster_runtime can be taken on"),
        Err(error) => Finding::problem(
            migrate::describe(&error),
            format!("an administrator of the database must run: GRANT muster_runtime TO {role};"),
        ),
    })
}
