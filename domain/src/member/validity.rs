//! From when until when somebody is a member: inclusive civil dates in the account's time zone.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::PgConnection;

use super::life;
use super::status::Locked;
use super::successor::MemberMail;
use crate::change::Change;
use crate::error::{Code, Refused, Result};
use crate::id::{AccountId, MemberId};
use crate::infra::clock::{Date, Timestamp};
use crate::job::{JobKind, NewJob};
use crate::license;

/// Days before the end at which its notice goes out.
const NOTICE_DAYS: i32 = 7;
/// Members that one transaction takes out, or tells.
const BATCH: i64 = 500;

/// The first and the last day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Validity {
    /// The first day on which they may enter.
    pub from: Option<Date>,
    /// The last day; after it they are deactivated.
    pub until: Option<Date>,
}

impl Validity {
    /// Whether it makes sense on a day.
    ///
    /// # Errors
    /// OUT_OF_RANGE at `validUntil` when it is over by then, or ends before it begins.
    pub(crate) fn check(self, today: Date) -> Result<(), Refused> {
        let wrong = self.until.is_some_and(|until| until < today || self.from.is_some_and(|from| from > until));
        if wrong { Err(Refused::new(Code::OutOfRange).at("validUntil")) } else { Ok(()) }
    }

    /// Whether it has not begun on a day.
    pub(crate) fn is_ahead(self, today: Date) -> bool {
        self.from.is_some_and(|from| from > today)
    }

    /// The instant at which it is over in a time zone, if it ever is: the midnight after the last day.
    pub(crate) fn end(self, time_zone: &str) -> Option<Timestamp> {
        self.until.map(|until| until.plus_days(1).begins(time_zone))
    }
}

/// The date in the change's account.
pub(crate) async fn today(change: &mut Change) -> Result<Date> {
    let (account, now) = (change.account(), change.now());
    let zone = sqlx::query_scalar!("SELECT time_zone FROM account WHERE account_id = $1", account.0)
        .fetch_one(change.conn())
        .await?;
    Ok(Date::at(now, &zone))
}

/// Refuses those whose time is over: they would be taken out again.
pub(super) async fn refuse_ended(
    change: &mut Change,
    open: &mut Vec<(usize, MemberId)>,
    refused: &mut Vec<(usize, Refused)>,
    locked: &BTreeMap<MemberId, Locked>,
) -> Result<()> {
    let until = |member: &MemberId| locked.get(member).and_then(|locked| locked.validity.until);
    if open.iter().all(|(_, member)| until(member).is_none()) {
        return Ok(());
    }
    let today = today(change).await?;
    open.retain(|(index, member)| {
        let over = until(member).is_some_and(|until| until < today);
        if over {
            refused.push((*index, Refused::new(Code::ValidityOver)));
        }
        !over
    });
    Ok(())
}

/// Takes out, as the system, members of the change's account whose time is over: a batch of them. Returns how many.
pub async fn end_due(change: &mut Change) -> Result<usize> {
    let account = change.account();
    license::lock(change).await?;
    let today = today(change).await?;
    let due = sqlx::query_scalar!(
        r#"SELECT member_id AS "member_id: MemberId" FROM member
           WHERE account_id = $1 AND valid_until < $2 AND (status = 'ACTIVE' OR (status = 'SUSPENDED' AND prior_status = 'ACTIVE'))
           ORDER BY member_id LIMIT $3"#,
        account.0,
        today,
        BATCH,
    )
    .fetch_all(change.conn())
    .await?;
    life::take_out(change, &due).await
}

/// Asks for the notice to members whose time ends within a week: once for each end. Returns how many.
pub async fn notify_due(change: &mut Change) -> Result<usize> {
    let account = change.account();
    let today = today(change).await?;
    let due = sqlx::query!(
        r#"WITH due AS (
               SELECT account_id, member_id FROM member
               WHERE account_id = $1 AND status = 'ACTIVE' AND valid_until BETWEEN $2 AND $3
                 AND validity_notice_for IS DISTINCT FROM valid_until
               ORDER BY member_id LIMIT $4 FOR NO KEY UPDATE)
           UPDATE member m SET validity_notice_for = m.valid_until FROM due
           WHERE m.account_id = due.account_id AND m.member_id = due.member_id
           RETURNING m.member_id AS "member_id: MemberId", m.valid_until AS "until!: Date""#,
        account.0,
        today,
        today.plus_days(NOTICE_DAYS),
        BATCH,
    )
    .fetch_all(change.conn())
    .await?;
    for row in &due {
        let day = number(row.until);
        change.enqueue(NewJob {
            account_id: account.0,
            kind: JobKind::MailValidityEnd,
            payload: json!({ "memberId": row.member_id, "until": day }),
            dedupe_key: format!("{}:{day}", row.member_id),
        });
    }
    Ok(due.len())
}

/// A date as a number, like 20261231.
fn number(date: Date) -> i32 {
    i32::from(date.0.year()) * 10_000 + i32::from(date.0.month()) * 100 + i32::from(date.0.day())
}

/// Reads what the notice of an end needs; `None` when that is no longer the end, or the member no longer active.
pub async fn mail(
    conn: &mut PgConnection,
    account: AccountId,
    member: MemberId,
    until: i32,
) -> sqlx::Result<Option<(MemberMail, Date)>> {
    let end = sqlx::query_scalar!(
        r#"SELECT valid_until AS "until!" FROM member WHERE account_id = $1 AND member_id = $2 AND valid_until IS NOT NULL"#,
        account.0,
        member.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(end) = end.filter(|end| number(*end) == until) else { return Ok(None) };
    Ok(super::successor::mail(conn, account, member).await?.map(|mail| (mail, end)))
}
