//! Quotes: a change of licences with its price, for a quarter of an hour. Confirming one charges exactly that.

use jiff::SignedDuration;
use sqlx::PgConnection;
use uuid::Uuid;

use super::terms::{self, QuoteKind, Terms, Wish};
use crate::actor::Actor;
use crate::change::Change;
use crate::error::Result;
use crate::id::{AccountId, QuoteId};
use crate::infra::clock::{Date, Timestamp};

/// How long a quote can be confirmed.
pub const VALID_FOR: SignedDuration = SignedDuration::from_mins(15);

/// A priced change.
#[derive(Clone, Debug)]
pub struct Quote {
    /// Its id.
    pub quote_id: QuoteId,
    /// What kind of change.
    pub kind: QuoteKind,
    /// What was asked for.
    pub wish: Wish,
    /// What it comes to.
    pub terms: Terms,
    /// The day that it was reckoned for.
    pub quoted_on: Date,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it can no longer be confirmed.
    pub expires_at: Timestamp,
}

/// Prices a change.
///
/// # Errors
/// As a confirmation would be refused, LICENSE_CHANGE_PENDING aside.
pub async fn create(change: &mut Change, actor: &Actor, wish: &Wish) -> Result<QuoteId> {
    let terms = terms::reckon(change, actor, wish, None).await?;
    let (account, now, id) = (change.account(), change.now(), QuoteId::new());
    let quoted_on = if terms.opens_period { terms.period.starts_on } else { terms.period.day_at(now) };
    sqlx::query!(
        "INSERT INTO license_quote (account_id, quote_id, kind, input, terms, quoted_on, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        account.0,
        id.0,
        wish.change.as_str(),
        serde_json::to_value(wish).expect("plain data"),
        serde_json::to_value(&terms).expect("plain data"),
        quoted_on as Date,
        actor.member_id.0,
        now as Timestamp,
        (now + VALID_FOR) as Timestamp,
    )
    .execute(change.conn())
    .await?;
    Ok(id)
}

/// Reads a quote; one that is long over is gone.
pub async fn read(conn: &mut PgConnection, account: AccountId, id: QuoteId) -> sqlx::Result<Option<Quote>> {
    Ok(read_many(conn, account, &[id]).await?.pop())
}

/// Reads quotes by their ids.
pub async fn read_many(conn: &mut PgConnection, account: AccountId, ids: &[QuoteId]) -> sqlx::Result<Vec<Quote>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"SELECT quote_id AS "quote_id: QuoteId", kind AS "kind: QuoteKind", input, terms, quoted_on AS "quoted_on: Date", created_at, expires_at
           FROM license_quote WHERE account_id = $1 AND quote_id = ANY($2)"#,
        account.0,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    let decoded = |error: serde_json::Error| sqlx::Error::Decode(error.into());
    let quotes = rows.into_iter().map(|row| {
        Ok(Quote {
            quote_id: row.quote_id,
            kind: row.kind,
            wish: serde_json::from_value(row.input).map_err(decoded)?,
            terms: serde_json::from_value(row.terms).map_err(decoded)?,
            quoted_on: row.quoted_on,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    });
    quotes.collect()
}
