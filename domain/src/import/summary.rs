//! What the importer is told by mail when an import has ended.

use sqlx::PgConnection;

use super::link::{self, File};
use super::shortage::Shortage;
use super::{MemberImport, State};
use crate::error::Error;
use crate::id::{AccountId, ImportId};
use crate::infra::db::Db;
use crate::upload::FILE_LIFETIME;

/// A summary, and whom it goes to.
#[derive(Debug)]
pub struct Summary {
    /// The importer's address.
    pub email: String,
    /// Their first name.
    pub first_name: Option<String>,
    /// The account's name.
    pub account_name: String,
    /// The import.
    pub import: MemberImport,
    /// What some rows lacked that would have been imported otherwise.
    pub shortage: Option<Shortage>,
    /// The last parts of the address of the rejected rows, if there are any.
    pub failed_rows: Option<String>,
}

/// Reads the summary of an import that has ended. `None`: it goes on, or its importer is no longer active.
pub async fn mail(db: &Db, conn: &mut PgConnection, account: AccountId, id: ImportId) -> sqlx::Result<Option<Summary>> {
    let Some(import) = super::list::find(conn, account, id).await? else { return Ok(None) };
    if matches!(import.state, State::Queued | State::Running) {
        return Ok(None);
    }
    let found = sqlx::query!(
        "SELECT u.email, m.first_name, a.name AS account_name
         FROM member m JOIN app_user u USING (user_id) JOIN account a USING (account_id)
         WHERE m.account_id = $1 AND m.member_id = $2 AND m.status = 'ACTIVE'",
        account.0,
        import.created_by.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let shortage = shortage_of(db, conn, account, &import).await?;
    let until = import.created_at + FILE_LIFETIME;
    let link = || link::path(db, account, import.created_by, File::FailedRows(id), until);
    Ok(Some(Summary {
        email: found.email,
        first_name: found.first_name,
        account_name: found.account_name,
        shortage,
        failed_rows: (import.rows_rejected > 0).then(link),
        import,
    }))
}

async fn shortage_of(
    db: &Db,
    conn: &mut PgConnection,
    account: AccountId,
    import: &MemberImport,
) -> sqlx::Result<Option<Shortage>> {
    if import.rows_without_seat == 0 || import.error_code.is_some() {
        return Ok(None);
    }
    let now = db.now_on(conn).await?;
    match Shortage::of(db, conn, account, now, import.rows_without_seat).await {
        Err(Error::Database(error)) => Err(error),
        // The mail is sent without it rather than not at all.
        reckoned => Ok(reckoned.ok()),
    }
}
