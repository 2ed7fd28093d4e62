//! What always holds, looked for in a live database: every rule that the database can show to be broken, with the rows that
//! break it. It writes nothing. Each look is one snapshot, and every writer keeps the rules from commit to commit, so whatever
//! runs meanwhile raises no alarm.

mod check;
mod erasure;
mod exports;
mod feed;
mod imports;
mod invitations;
mod members;
mod money;
mod outbox;
mod owner;
mod places;
mod schema;
mod seats;
mod tenancy;
mod tokens;

use serde_json::{Map, Value};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use self::check::Check;
use crate::id::{
    AccountId, AttemptId, ChangeId, EventId, GroupId, ImportId, InvitationId, MemberId, ResourceId, RoleId, SessionId,
    StatementId, UnitId, UploadId, UserId,
};

/// Rows of a finding that are shown.
const SHOWN: usize = 20;

/// Accounts looked at in one snapshot.
const ACCOUNTS_AT_ONCE: i64 = 100;

/// What it means that a rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It must never be: something is lost, doubled, or allowed that is not.
    Broken,
    /// It passes by itself once everything runs; somebody should look why it does not.
    Warning,
}

impl Level {
    /// As shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Warning => "warning",
        }
    }
}

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its name, like `seats.in_use`.
    pub check: &'static str,
    /// The rule, in a sentence.
    pub rule: &'static str,
    /// What it means.
    pub level: Level,
    /// The first rows that break it: objects of ids, as the API shows them, numbers and states. Nothing personal.
    pub rows: Vec<Map<String, Value>>,
    /// How many rows break it.
    pub total: i64,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Rules.
    pub checks: usize,
    /// Accounts.
    pub accounts: usize,
}

/// The rules that each account keeps, by area.
fn of_accounts() -> impl Iterator<Item = &'static Check> {
    let areas = [
        seats::CHECKS,
        money::CHECKS,
        owner::CHECKS,
        invitations::CHECKS,
        members::CHECKS,
        places::CHECKS,
        erasure::CHECKS,
        imports::CHECKS,
        exports::CHECKS,
        tokens::accounts::CHECKS,
        tenancy::CHECKS,
        feed::CHECKS,
    ];
    areas.into_iter().flatten()
}

/// The rules of the installation as a whole, by area.
fn of_installation() -> impl Iterator<Item = &'static Check> {
    [outbox::CHECKS, tokens::installation::CHECKS, schema::CHECKS].into_iter().flatten()
}

/// Names of all rules.
pub fn names() -> Vec<&'static str> {
    let checks = of_accounts().chain(of_installation()).map(|check| check.name);
    checks.chain(["feed.digest", "seals.chain"]).collect()
}

/// Looks at one account, or at all of them and the installation as a whole, and tells each finding as soon as it is known; a rule
/// that is broken in many accounts may be told more than once. Memory does not grow with the database. The connection has no
/// limits on time, see [`crate::infra::migrate::connect`].
pub async fn run(
    conn: &mut PgConnection,
    only: Option<AccountId>,
    mut tell: impl FnMut(Finding),
) -> sqlx::Result<Looked> {
    // The two that are no statements.
    let mut looked = Looked { checks: of_accounts().count() + 2, accounts: 0 };
    if only.is_none() {
        looked.checks += of_installation().count();
        let mut snapshot = snapshot(conn).await?;
        look(&mut snapshot, of_installation(), &[], &mut tell).await?;
    }
    let mut after = Uuid::nil();
    loop {
        let mut page = snapshot(conn).await?;
        let accounts = accounts_after(&mut page, after, only).await?;
        let Some(last) = accounts.last() else { return Ok(looked) };
        after = *last;
        look(&mut page, of_accounts(), &accounts, &mut tell).await?;
        drop(page);
        for account in &accounts {
            let mut snapshot = snapshot(conn).await?;
            feed::history(&mut snapshot, AccountId(*account)).await?.into_iter().for_each(&mut tell);
        }
        looked.accounts += accounts.len();
    }
}

async fn snapshot(conn: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
}

async fn accounts_after(conn: &mut PgConnection, after: Uuid, only: Option<AccountId>) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT account_id FROM account WHERE account_id > $1 AND ($2::uuid IS NULL OR account_id = $2) ORDER BY account_id LIMIT $3",
        after,
        only.map(|account| account.0),
        ACCOUNTS_AT_ONCE,
    )
    .fetch_all(conn)
    .await
}

async fn look(
    conn: &mut PgConnection,
    checks: impl Iterator<Item = &'static Check>,
    accounts: &[Uuid],
    tell: &mut impl FnMut(Finding),
) -> sqlx::Result<()> {
    for check in checks {
        let rows = (check.read)(conn, accounts).await?;
        if let Some(first) = rows.first() {
            tell(Finding {
                check: check.name,
                rule: check.rule,
                level: check.level,
                total: first.total,
                rows: rows.iter().map(|row| facts(row.account_id, &row.facts)).collect(),
            });
        }
    }
    Ok(())
}

/// What a row is found by, with ids in the form that the API shows. Jobs keep theirs: so `muster jobs` shows them.
fn facts(account: Option<Uuid>, found: &Value) -> Map<String, Value> {
    let mut shown = Map::new();
    if let Some(account) = account {
        shown.insert("account".to_owned(), AccountId(account).to_string().into());
    }
    for (name, value) in found.as_object().into_iter().flatten() {
        shown.insert(name.clone(), outside(name, value));
    }
    shown
}

fn outside(name: &str, value: &Value) -> Value {
    if let Value::Array(values) = value {
        return values.iter().map(|value| outside(name.trim_end_matches('s'), value)).collect();
    }
    let Some(id) = value.as_str().and_then(|text| Uuid::try_parse(text).ok()) else { return value.clone() };
    match name {
        "member" => MemberId(id).to_string().into(),
        "user" => UserId(id).to_string().into(),
        "role" => RoleId(id).to_string().into(),
        "invitation" => InvitationId(id).to_string().into(),
        "session" => SessionId(id).to_string().into(),
        "event" => EventId(id).to_string().into(),
        "upload" => UploadId(id).to_string().into(),
        "import" => ImportId(id).to_string().into(),
        "statement" => StatementId(id).to_string().into(),
        "change" => ChangeId(id).to_string().into(),
        "attempt" => AttemptId(id).to_string().into(),
        "group" => GroupId(id).to_string().into(),
        "unit" => UnitId(id).to_string().into(),
        "resource" => ResourceId(id).to_string().into(),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let names = names();
        let distinct: HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        assert!(names.iter().all(|name| name.split('.').count() == 2), "{names:?}");
    }

    #[test]
    fn ids_are_shown_as_the_api_shows_them() {
        let id = Uuid::from_u128(7);
        let found = json!({ "member": id, "members": [id], "job": id, "status": "ACTIVE", "inUse": 3 });
        let shown = facts(Some(id), &found);
        let member = MemberId(id).to_string();
        let wanted = json!({
            "account": AccountId(id).to_string(), "member": member, "members": [member], "job": id, "status": "ACTIVE", "inUse": 3,
        });
        assert_eq!(Value::Object(shown), wanted);
    }
}
