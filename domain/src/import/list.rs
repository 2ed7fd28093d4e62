//! What people see of imports: how far each is, and what became of each row.

use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, QueryBuilder};
use uuid::Uuid;

use super::State;
use super::row::RowFault;
use crate::actor::{Action, Actor};
use crate::id::{ImportId, MemberId};
use crate::infra::clock::Timestamp;
use crate::infra::page::{Cursor, Page, Request, SortKind, SortValue};

/// The order of [`rows`], as [`Request::new`] wants it.
pub const ROWS: (&str, SortKind) = ("import.row", SortKind::Number);

/// The order of [`list`], as [`Request::new`] wants it: the newest first.
pub const IMPORTS: (&str, SortKind) = ("import.created_at.desc", SortKind::Instant);

/// An import.
#[derive(Clone, Debug, FromRow)]
pub struct MemberImport {
    /// Its id.
    pub import_id: ImportId,
    /// Who started it.
    pub created_by: MemberId,
    /// Whether the people get a mail.
    pub send_welcome_email: bool,
    /// How far it is.
    pub state: State,
    /// Rows of the file; unknown until the worker has looked at it.
    pub rows_total: Option<i32>,
    /// Names of columns that are not imported. They go 7 days after the import was started.
    pub ignored_columns: Vec<String>,
    /// Rows that became members.
    pub rows_invited: i32,
    /// Rows that did not.
    pub rows_rejected: i32,
    /// Why it ended early, for programs: a [`super::FailureCode`].
    pub error_code: Option<String>,
    /// Why it ended early and what to do, for people.
    pub error_message: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the worker began with it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// How far an import is, in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Imported or rejected.
    pub done: i32,
    /// In the file, once that is known.
    pub total: Option<i32>,
}

impl MemberImport {
    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress { done: self.rows_invited + self.rows_rejected, total: self.rows_total }
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// The person is an invited member.
    Invited,
    /// Nothing was done; the faults say why.
    Rejected,
}

impl Outcome {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "INVITED",
            Self::Rejected => "REJECTED",
        }
    }
}

/// What became of a row of a file.
#[derive(Clone, Debug, FromRow)]
pub struct RowOutcome {
    /// The row as a spreadsheet shows it: the header is row 1.
    pub row_no: i32,
    /// What became of it.
    pub outcome: Outcome,
    /// The member it became; they may have been removed since.
    pub member_id: Option<MemberId>,
    /// What is wrong with it. The values go 7 days after the import was started.
    pub faults: Json<Vec<RowFault>>,
}

macro_rules! select {
    () => {
        "SELECT import_id, created_by, send_welcome_email, state, rows_total, ignored_columns, rows_invited, rows_rejected, error_code, \
         error_message, created_at, started_at, finished_at FROM member_import WHERE account_id = "
    };
}

/// Reads imports by id; those that do not exist in the account are left out, and all of them unless the actor may read imports.
pub async fn read_many(conn: &mut PgConnection, actor: &Actor, ids: &[ImportId]) -> sqlx::Result<Vec<MemberImport>> {
    if !actor.can(Action::ReadImports) {
        return Ok(Vec::new());
    }
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as(concat!(select!(), "$1 AND import_id = ANY($2)"))
        .bind(actor.account_id.0)
        .bind(&raw)
        .fetch_all(conn)
        .await
}

/// A page of an account's imports, the newest first, each with its cursor. The caller has looked at the right to read imports.
pub async fn list(
    conn: &mut PgConnection,
    actor: &Actor,
    request: &Request,
) -> sqlx::Result<Page<(Cursor, MemberImport)>> {
    let mut statement = QueryBuilder::new(select!());
    statement.push_bind(actor.account_id.0);
    request.push_to(&mut statement, "created_at", "import_id", true);
    let imports: Vec<MemberImport> = statement.build_query_as().fetch_all(conn).await?;
    Ok(request
        .page(imports)
        .map(|import| (Cursor::new(IMPORTS.0, SortValue::Instant(import.created_at), import.import_id.0), import)))
}

/// A page of what became of the rows of an import, in the order of the file, each with its cursor. The caller has looked at
/// the right to read imports.
pub async fn rows(
    conn: &mut PgConnection,
    actor: &Actor,
    id: ImportId,
    outcome: Option<Outcome>,
    request: &Request,
) -> sqlx::Result<Page<(Cursor, RowOutcome)>> {
    let mut statement =
        QueryBuilder::new("SELECT row_no, outcome, member_id, faults FROM member_import_row WHERE account_id = ");
    statement.push_bind(actor.account_id.0).push(" AND import_id = ").push_bind(id.0);
    if let Some(outcome) = outcome {
        statement.push(" AND outcome = ").push_bind(outcome.as_str());
    }
    request.push_to(&mut statement, "row_no", "import_id", false);
    let rows: Vec<RowOutcome> = statement.build_query_as().fetch_all(conn).await?;
    Ok(request.page(rows).map(|row| (Cursor::new(ROWS.0, SortValue::Number(row.row_no), id.0), row)))
}
