//! Prints how the database goes about the list of 100,000 members, and how long that takes: the first, a filtered and the deepest page
//! of each order, for who reads all and for who reads a unit. Needs `DATABASE_URL`; `plans` as an argument prints every plan in full.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "what fails ends it")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod support;

use std::time::{Duration, Instant};

use anyhow::Result;
use domain::actor::Actor;
use domain::id::{GroupId, UnitId};
use domain::infra::db::Db;
use domain::infra::page::{Arguments, Request};
use domain::member::{self, Filter, Include, Order, Status};
use domain::permission::SystemRole;
use sqlx::AssertSqlSafe;

use self::support::database::Database;
use self::support::firm;

const MEMBERS: i32 = 100_000;
/// Times that each page is read; the median is printed.
const ROUNDS: usize = 15;
const UNIT: u128 = 0x0193_0000_0000_7000_8000_0000_0000_0001;
const GROUP: u128 = 0x0193_0000_0000_7000_8000_0000_0000_0002;

#[tokio::main]
async fn main() -> Result<()> {
    println!("load average: {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    let database = Database::new().await;
    let db = &database.db;
    let owner = firm::found(db, "olivia@harborandfinch.example").await;
    let limited = limited(db, &owner).await?;
    fill(db, &owner).await?;
    println!("{MEMBERS} members; milliseconds are medians of {ROUNDS}");
    for (name, actor) in [("who reads all", &owner), ("who reads a unit of 1,000", &limited)] {
        println!("\n## {name}");
        for order in Order::ALL {
            of_order(db, actor, order).await?;
        }
        counts(db, actor).await?;
    }
    Ok(())
}

/// A member manager of one unit.
async fn limited(db: &Db, owner: &Actor) -> Result<Actor> {
    let email = "ulla@harborandfinch.example";
    let invitation = firm::invite(db, owner, email, SystemRole::Standard).await;
    let token = firm::invitation_token(db, owner.account_id, invitation).await;
    let passwords = domain::password::Passwords::new(firm::CHEAP);
    let acceptance = domain::invitation::Acceptance { password: Some(firm::PASSWORD.into()), ..Default::default() };
    let origin = domain::actor::Origin::system();
    domain::invitation::accept(db, &passwords, origin, None, &token, &acceptance).await.unwrap();
    let unit = UnitId(uuid::Uuid::from_u128(UNIT));
    let account = owner.account_id.0;
    sqlx::query("INSERT INTO unit (account_id, unit_id, name, created_at) VALUES ($1, $2, 'Boston', now())")
        .bind(account)
        .bind(unit)
        .execute(&db.pool)
        .await?;
    sqlx::query(
        "UPDATE member_role SET role_id = $3, unit_id = $2
         WHERE account_id = $1 AND member_id = (SELECT member_id FROM member WHERE account_id = $1 AND email = $4)",
    )
    .bind(account)
    .bind(unit)
    .bind(SystemRole::MemberManager.id())
    .bind(email)
    .execute(&db.pool)
    .await?;
    sqlx::query("UPDATE account_feed SET access_version = access_version + 1").execute(&db.pool).await?;
    Ok(firm::signed_in(db, email).await)
}

/// People with different names; 1 in 100 belongs to the unit, is in the group, is an auditor or is suspended.
async fn fill(db: &Db, owner: &Actor) -> Result<()> {
    let (unit, group) = (uuid::Uuid::from_u128(UNIT), uuid::Uuid::from_u128(GROUP));
    let (account, auditor, standard) = (owner.account_id.0, SystemRole::Auditor.id().0, SystemRole::Standard.id().0);
    let person = "('10000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid";
    let statements = [
        format!("INSERT INTO app_user SELECT {person}, 'p' || n || '@harborandfinch.example', now() FROM generate_series(1, {MEMBERS}) n"),
        format!(
            "INSERT INTO member (account_id, member_id, user_id, email, status, prior_status, first_name, last_name, subscription_type, created_at, joined_at)
             SELECT '{account}', {person}, {person}, 'p' || n || '@harborandfinch.example', CASE WHEN n % 100 = 7 THEN 'SUSPENDED' ELSE 'ACTIVE' END,
                    CASE WHEN n % 100 = 7 THEN 'ACTIVE' END, 'First' || n % 977, 'Last' || md5(n::text), 'ATTORNEY',
                    now() - n * interval '1 minute', now() - (n % 50000) * interval '1 minute'
             FROM generate_series(1, {MEMBERS}) n"
        ),
        format!("INSERT INTO member_activity SELECT '{account}', {person}, NULL, CASE WHEN n % 3 > 0 THEN now() - (n % 70001) * interval '1 minute' END FROM generate_series(1, {MEMBERS}) n"),
        format!("INSERT INTO member_role SELECT '{account}', {person}, CASE WHEN n % 100 = 3 THEN '{auditor}' ELSE '{standard}' END::uuid, default_unit, now() FROM generate_series(1, {MEMBERS}) n, (SELECT '00000000-0000-0000-0000-000000000000'::uuid AS default_unit) u"),
        format!("INSERT INTO member_unit SELECT '{account}', {person}, '{unit}', now() FROM generate_series(1, {MEMBERS}) n WHERE n % 100 = 5"),
        format!("INSERT INTO member_group (account_id, group_id, name, created_at) VALUES ('{account}', '{group}', 'Litigation', now())"),
        format!("INSERT INTO group_member SELECT '{account}', '{group}', {person}, now() FROM generate_series(1, {MEMBERS}) n WHERE n % 100 = 5"),
    ];
    let mut conn = db.pool.acquire().await?;
    sqlx::raw_sql("SET statement_timeout = 0").execute(&mut *conn).await?;
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *conn).await?;
    }
    // By the connecting role, whose tables they are.
    sqlx::raw_sql("RESET ROLE; ANALYZE; SET ROLE muster_runtime").execute(&mut *conn).await?;
    Ok(())
}

/// All pages of an order that are looked at.
async fn of_order(db: &Db, actor: &Actor, order: Order) -> Result<()> {
    let all = Filter::default();
    let one = |filter: fn(&mut Filter)| {
        let mut wanted = Filter::default();
        filter(&mut wanted);
        wanted
    };
    let forward = Arguments { first: Some(50), ..Arguments::default() };
    let backward = Arguments { last: Some(50), ..Arguments::default() };
    for descending in [false, true] {
        let way = if descending { "descending" } else { "ascending" };
        page(db, actor, &format!("{order:?} {way}, first page"), &all, (order, descending), &forward).await?;
    }
    let (key, kind) = (order.key(false), order.kind());
    // The last page but one, whose cursor is that of the first row of the last one.
    let request = Request::new(&backward, (&key, kind)).unwrap();
    let mut conn = db.pool.acquire().await?;
    let last = member::list(&mut conn, actor, &all, (order, false), &request, Include::default()).await.unwrap();
    drop(conn);
    let deep = Arguments { first: Some(49), after: Some(last.rows[0].0.encode()), ..Arguments::default() };
    page(db, actor, &format!("{order:?}, deepest page"), &all, (order, false), &deep).await?;
    let filters = [
        ("suspended", one(|filter| filter.statuses = vec![Status::Suspended])),
        ("auditors", one(|filter| filter.role_id = Some(SystemRole::Auditor.id()))),
        ("of the group", one(|filter| filter.group_id = Some(GroupId(uuid::Uuid::from_u128(GROUP))))),
        ("of the unit", one(|filter| filter.unit_id = Some(UnitId(uuid::Uuid::from_u128(UNIT))))),
        ("\"p4242\" in name or address", one(|filter| filter.text = Some("p4242".to_owned()))),
    ];
    for (name, filter) in filters {
        page(db, actor, &format!("{order:?}, {name}"), &filter, (order, false), &forward).await?;
    }
    Ok(())
}

async fn page(
    db: &Db,
    actor: &Actor,
    name: &str,
    filter: &Filter,
    (order, descending): (Order, bool),
    arguments: &Arguments,
) -> Result<()> {
    let request = Request::new(arguments, (&order.key(descending), order.kind())).unwrap();
    let mut conn = db.pool.acquire().await?;
    let include = Include { roles: true, licenses: true, groups: true, units: true, held: false };
    let (mut times, mut rows) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let page = member::list(&mut conn, actor, filter, (order, descending), &request, include).await.unwrap();
        times.push(begin.elapsed());
        rows = page.rows.len();
    }
    let plan = member::explain(&mut conn, actor, filter, (order, descending), &request).await.unwrap();
    println!("{name}: {} ms, {rows} rows; {}", milliseconds(&mut times), gist(&plan));
    if std::env::args().any(|argument| argument == "plans") {
        println!("{}", plan.join("\n"));
    }
    Ok(())
}

async fn counts(db: &Db, actor: &Actor) -> Result<()> {
    let mut conn = db.pool.acquire().await?;
    let mut times = Vec::new();
    let mut counted = member::Counts::default();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        counted = member::counts(&mut conn, actor).await?;
        times.push(begin.elapsed());
    }
    println!("counts by status: {} ms; {counted:?}", milliseconds(&mut times));
    Ok(())
}

fn milliseconds(times: &mut [Duration]) -> String {
    times.sort_unstable();
    format!("{:.1}", times[times.len() / 2].as_secs_f64() * 1_000.0)
}

/// The indexes that a plan goes through, whether it sorts, and what it throws away.
fn gist(plan: &[String]) -> String {
    let words = ["Index", "Seq Scan", "Sort Key", "Rows Removed", "Execution Time"];
    let lines: Vec<&str> =
        plan.iter().map(|line| line.trim()).filter(|line| words.iter().any(|word| line.contains(word))).collect();
    lines.into_iter().filter(|line| !line.starts_with("Index Cond")).collect::<Vec<_>>().join(" | ")
}
