//! Links by which a file about imports is fetched. Whoever follows one must still be allowed to see imports, so that they die with the
//! right to them.

use uuid::Uuid;

use crate::actor::{Action, Target, decide, read_rights};
use crate::error::Result;
use crate::id::{AccountId, ImportId, MemberId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::link::Link;
use crate::infra::secret::Purpose;

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The template of an import.
    Template,
    /// The rejected rows of an import.
    FailedRows(ImportId),
}

impl File {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Template => "template.csv",
            Self::FailedRows(_) => "failed-rows.csv",
        }
    }

    const fn id(self) -> Uuid {
        match self {
            Self::Template => Uuid::nil(),
            Self::FailedRows(import) => import.0,
        }
    }
}

/// What stands below `/member-imports/` in an address that `reader` can follow until then.
pub fn path(db: &Db, account: AccountId, reader: MemberId, file: File, until: Timestamp) -> String {
    let token = Link::new(account, file.id(), reader, until).write(&db.key, Purpose::ImportFile);
    format!("{token}/{}", file.name())
}

/// Follows a link. `None`, whatever the reason: it is none of ours or over, or its reader may not see imports any more.
///
/// # Errors
/// The database's.
pub async fn open(db: &Db, token: &str) -> Result<Option<(AccountId, File)>> {
    let Some(link) = Link::read(&db.key, Purpose::ImportFile, token) else { return Ok(None) };
    let mut conn = db.pool.acquire().await?;
    if link.is_over(db.now_on(&mut conn).await?) {
        return Ok(None);
    }
    let rights = read_rights(&mut conn, link.account, link.reader).await?;
    let may = rights.is_some_and(|rights| decide(link.reader, &rights, Action::ReadImports, Target::Account).is_ok());
    let file = if link.leads_to.is_nil() { File::Template } else { File::FailedRows(ImportId(link.leads_to)) };
    Ok(may.then_some((link.account, file)))
}
