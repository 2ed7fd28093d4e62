//! Every statement that reads across accounts, in one place: what is due in any account, and a person's memberships.
//! They lock nothing; whoever acts on what they list does so per account.

use sqlx::{PgConnection, PgPool};

use crate::id::{AccountId, MemberId, SessionId, UserId};
use crate::infra::clock::Timestamp;
use crate::invitation;

/// Accounts that have events after their last seal.
pub async fn accounts_with_unsealed_events(pool: &PgPool) -> sqlx::Result<Vec<AccountId>> {
    sqlx::query_scalar!(
        r#"SELECT f.account_id AS "account_id: AccountId" FROM account_feed f
           WHERE f.next_seq - 1 > coalesce(
               (SELECT s.last_seq FROM event_seal s WHERE s.account_id = f.account_id ORDER BY s.last_seq DESC LIMIT 1), 0)
           ORDER BY f.account_id LIMIT 1000"#
    )
    .fetch_all(pool)
    .await
}

/// A person's place in one of their accounts.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The account.
    pub account_id: AccountId,
    /// Its name, live.
    pub account_name: String,
    /// The place.
    pub member_id: MemberId,
    /// Its status.
    pub status: String,
}

/// All accounts a person belongs to, in the order of their ids, which is the order they are locked in.
pub async fn memberships(conn: &mut PgConnection, user: UserId) -> sqlx::Result<Vec<Membership>> {
    sqlx::query_as!(
        Membership,
        r#"SELECT m.account_id AS "account_id: AccountId", a.name AS account_name, m.member_id AS "member_id: MemberId", m.status
           FROM member m JOIN account a USING (account_id) WHERE m.user_id = $1 ORDER BY m.account_id"#,
        user.0,
    )
    .fetch_all(conn)
    .await
}

/// Ends all sessions of a person, everywhere but `except`. Returns the accounts that had any.
pub async fn end_sessions(
    conn: &mut PgConnection,
    user: UserId,
    except: Option<SessionId>,
) -> sqlx::Result<Vec<AccountId>> {
    let mut accounts = sqlx::query_scalar!(
        r#"DELETE FROM session WHERE user_id = $1 AND session_id IS DISTINCT FROM $2 RETURNING account_id AS "account_id: AccountId""#,
        user.0,
        except.map(|session| session.0),
    )
    .fetch_all(conn)
    .await?;
    accounts.sort_unstable();
    accounts.dedup();
    Ok(accounts)
}

/// Accounts that have invitations to lapse, in the order of ids, from one on.
pub async fn accounts_with_overdue_invitations(
    pool: &PgPool,
    now: Timestamp,
    after: Option<AccountId>,
    limit: i64,
) -> sqlx::Result<Vec<AccountId>> {
    let after = after.map_or(uuid::Uuid::nil(), |account| account.0);
    sqlx::query_scalar!(
        r#"SELECT account_id AS "account_id!: AccountId" FROM (
               SELECT account_id FROM invitation WHERE state = 'PENDING' AND expires_at <= $1
               UNION
               SELECT account_id FROM invitation WHERE state = 'PENDING' AND sent_at IS NULL AND queued_at <= $2) due
           WHERE account_id > $3 ORDER BY account_id LIMIT $4"#,
        now,
        now - invitation::UNDELIVERABLE_AFTER,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}
