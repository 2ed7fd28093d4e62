//! How long it takes to say who has access to what: 10,000 resources, 1,000 members, 200 groups. Prints timings and plans. Needs
//! `DATABASE_URL`.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(dead_code, reason = "parts that other tests use")]
#![expect(clippy::unwrap_used, reason = "what fails ends it")]

#[path = "../support/database.rs"]
mod database;
#[path = "../support/firm.rs"]
mod firm;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use domain::actor::{Asker, Origin};
use domain::id::ResourceId;
use domain::infra::page::{Arguments, Request};
use domain::resource::{self, Filter, Reference};
use domain::service_token::{self, Authenticated, NewToken, Scope};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};

use self::database::Database;

const ROUNDS: usize = 500;

/// Fills the only account: 1,000 members, of whom each is in five of 200 groups and answers for ten of 10,000 resources; each resource is
/// open to two groups and one member, three in a hundred to everybody.
const FILL: &str = "
    INSERT INTO member (account_id, member_id, email, status, first_name, last_name, created_at)
    SELECT account_id, gen_random_uuid(), 'm' || i || '@bench.example', 'INVITED', 'M', i::text, now()
    FROM account, generate_series(1, 999) i;
    INSERT INTO member_group (account_id, group_id, name, created_at)
    SELECT account_id, gen_random_uuid(), 'Group ' || i, now() FROM account, generate_series(1, 200) i;
    INSERT INTO resource (account_id, resource_id, resource_type, external_id, name, open_to_all, created_at, responsible_member_id)
    SELECT account_id, gen_random_uuid(), 'matter', i::text, 'Matter ' || i, i % 33 = 0, now(), m.ids[1 + i % 1000]
    FROM account, generate_series(1, 10000) i, (SELECT array_agg(member_id) ids FROM member) m;
    INSERT INTO group_member (account_id, group_id, member_id, added_at)
    SELECT account_id, g.ids[1 + (m.n * 7 + k * 31) % 200], m.member_id, now()
    FROM (SELECT account_id, member_id, row_number() OVER () n FROM member) m, generate_series(1, 5) k,
         (SELECT array_agg(group_id) ids FROM member_group) g ON CONFLICT DO NOTHING;
    INSERT INTO resource_group (account_id, resource_id, group_id, granted_at)
    SELECT account_id, r.resource_id, g.ids[1 + (r.n * 13 + k * 57) % 200], now()
    FROM (SELECT account_id, resource_id, row_number() OVER () n FROM resource) r, generate_series(1, 2) k,
         (SELECT array_agg(group_id) ids FROM member_group) g ON CONFLICT DO NOTHING;
    INSERT INTO resource_member (account_id, resource_id, member_id, granted_at)
    SELECT account_id, r.resource_id, m.ids[1 + (r.n * 17) % 1000], now()
    FROM (SELECT account_id, resource_id, row_number() OVER () n FROM resource) r, (SELECT array_agg(member_id) ids FROM member) m;
    ANALYZE";

/// From now on the server tells this connection the plan of each statement; the library prints it.
const EXPLAIN: &str = "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on;
    SET auto_explain.log_timing = off; SET client_min_messages = log";

/// Times some rounds, then prints the median, the slowest hundredth and the slowest.
async fn tell(what: &str, mut round: impl AsyncFnMut() -> Result<usize>) -> Result<()> {
    let (mut times, mut found) = (Vec::<Duration>::with_capacity(ROUNDS), 0);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        found = round().await?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let (p50, p99, max) = (times[ROUNDS / 2], times[ROUNDS * 99 / 100], times[ROUNDS - 1]);
    println!("{what}: p50 {p50:?}, p99 {p99:?}, max {max:?}; the last found {found}");
    Ok(())
}

/// Hundreds of references, each time others.
struct Deck {
    ids: Vec<ResourceId>,
    next: usize,
}

impl Deck {
    fn draw(&mut self, count: usize) -> Vec<Reference> {
        let drawn =
            (self.next..self.next + count).map(|index| Reference::Id(self.ids[index % self.ids.len()])).collect();
        self.next += count;
        drawn
    }

    fn draw_names(&mut self, count: usize) -> Vec<Reference> {
        let name = |index: usize| Reference::External {
            resource_type: "matter".to_owned(),
            external_id: (1 + index * 37 % 10_000).to_string(),
        };
        let drawn = (self.next..self.next + count).map(name).collect();
        self.next += count;
        drawn
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_env_filter("sqlx::postgres::notice=trace").without_time().with_target(false).init();
    let database = Database::new().await;
    let db = &database.db;
    let owner = firm::found(db, "olivia@bench.example").await;
    let mut conn = PgConnection::connect(database.url().expose_secret()).await?;
    sqlx::raw_sql(FILL).execute(&mut conn).await?;
    let ids =
        sqlx::query_scalar("SELECT resource_id FROM resource ORDER BY md5(external_id)").fetch_all(&mut conn).await?;
    let mut deck = Deck { ids, next: 0 };
    let new = NewToken { name: "bench", scopes: &Scope::ALL, expires_at: None };
    let token = service_token::create(db, &new).await?.1.expose();
    let account = Some(owner.account_id);
    let authenticate = async || match service_token::authenticate(db, &token, account, Origin::system()).await? {
        Authenticated::Host(host) => Ok(host),
        Authenticated::NoAccount => anyhow::bail!("no account"),
    };
    let host = Asker::Host(Box::new(authenticate().await?));
    let member = owner.member_id;
    tell("finding the service token", async || authenticate().await.map(|host| host.scopes.len())).await?;
    for count in [1, 10, 100] {
        tell(&format!("canAccess, {count} by id"), async || {
            let drawn = deck.draw(count);
            Ok(resource::can_access(&mut conn, &host, member, &drawn).await?.iter().flatten().count())
        })
        .await?;
        tell(&format!("canAccess, {count} by type and external id"), async || {
            let drawn = deck.draw_names(count);
            Ok(resource::can_access(&mut conn, &host, member, &drawn).await?.iter().flatten().count())
        })
        .await?;
    }
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let arguments = Arguments { first: Some(100), after, ..Arguments::default() };
        let request = Request::new(&arguments, resource::ORDER).map_err(|_| anyhow::anyhow!("a page"))?;
        let page = resource::accessible(&mut conn, &host, member, &Filter::default(), &request).await?;
        after = page.rows.last().map(|(cursor, _)| cursor.encode());
        pages.push(request);
        if !page.has_next {
            break;
        }
    }
    for (what, request) in [("first", &pages[0]), ("last", pages.last().context("a page")?)] {
        tell(&format!("accessibleResources, the {what} of {} pages of 100", pages.len()), async || {
            Ok(resource::accessible(&mut conn, &host, member, &Filter::default(), request).await?.rows.len())
        })
        .await?;
    }
    sqlx::raw_sql(EXPLAIN).execute(&mut conn).await?;
    resource::can_access(&mut conn, &host, member, &deck.draw(100)).await?;
    resource::accessible(&mut conn, &host, member, &Filter::default(), &pages[0]).await?;
    conn.close().await?;
    Ok(())
}
