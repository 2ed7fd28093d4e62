//! A person's global identity: the address they sign in with, and a password.

use sqlx::PgConnection;

use crate::error::{Code, Error, Result};
use crate::id::UserId;
use crate::infra::clock::Timestamp;

/// A new identity with its password.
///
/// # Errors
/// ADDRESS_TAKEN when the address has one.
pub(crate) async fn create(
    conn: &mut PgConnection,
    email: &str,
    password_hash: &str,
    now: Timestamp,
) -> Result<UserId> {
    let user = UserId::new();
    let created = sqlx::query!(
        "INSERT INTO app_user (user_id, email, created_at) VALUES ($1, $2, $3) ON CONFLICT (email) DO NOTHING",
        user.0,
        email,
        now
    )
    .execute(&mut *conn)
    .await?;
    if created.rows_affected() == 0 {
        return Err(Error::from(Code::AddressTaken));
    }
    sqlx::query!(
        "INSERT INTO user_credential (user_id, password_hash, password_changed_at) VALUES ($1, $2, $3)",
        user.0,
        password_hash,
        now
    )
    .execute(conn)
    .await?;
    Ok(user)
}

/// The address somebody signs in with, and notices go to, as of now; `None` when they are gone.
pub async fn email(conn: &mut PgConnection, user: UserId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("SELECT email FROM app_user WHERE user_id = $1", user.0).fetch_optional(conn).await
}
