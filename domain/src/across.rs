//! Every statement that reads across accounts, in one place: what is due in any account, and a person's memberships.
//! They lock nothing; whoever acts on what they list does so per account.

use sqlx::{PgConnection, PgPool};

use crate::id::{AccountId, MemberId, SessionId, UserId};

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

/// Whether there is any account.
pub async fn has_accounts(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM account) AS "any!""#).fetch_one(conn).await
}

/// The account that a person, named by their address, has owned for longest.
pub async fn oldest_account_of(conn: &mut PgConnection, owner: &str) -> sqlx::Result<Option<AccountId>> {
    sqlx::query_scalar!(
        r#"SELECT a.account_id AS "account_id: AccountId"
           FROM app_user u JOIN member m USING (user_id) JOIN account_owner o USING (account_id, member_id) JOIN account a USING (account_id)
           WHERE u.email = $1 ORDER BY a.created_at, a.account_id LIMIT 1"#,
        owner,
    )
    .fetch_optional(conn)
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
