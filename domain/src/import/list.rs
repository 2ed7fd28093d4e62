//! What people see of imports: how far each is, and what became of each row.

use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::State;
use super::column::{Column, Delimiter, LineEnd};
use super::encoding::Encoding;
use super::failure::told_of_header;
use super::row::RowFault;
use super::shortage::Shortage;
use crate::actor::{Action, Actor};
use crate::error::Result;
use crate::id::{AccountId, ImportId, MemberId, UploadId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::page::{Cursor, Page, Request, SortKind, SortValue};
use crate::profile::FieldFault;

/// The order of [`rows`], as [`Request::new`] wants it.
pub const ROWS: (&str, SortKind) = ("import.row", SortKind::Number);

/// The order of [`list`], as [`Request::new`] wants it: the newest first.
pub const IMPORTS: (&str, SortKind) = ("import.created_at.desc", SortKind::Instant);

/// An import.
#[derive(Clone, Debug, FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "columns of a row")]
pub struct MemberImport {
    /// Its id.
    pub import_id: ImportId,
    /// The upload its file is of.
    pub upload_id: UploadId,
    /// Who started it.
    pub created_by: MemberId,
    /// Whether it only says what would happen.
    pub dry_run: bool,
    /// Whether the people get a mail.
    pub send_welcome_email: bool,
    /// Whether members who are there are brought up to date.
    pub update_existing: bool,
    /// Whether all seats had to be there before the first row.
    pub require_seats: bool,
    /// Whether all rows take effect or none.
    pub all_or_nothing: bool,
    /// Whether the rows took effect: not in a dry run, nor before all do at once.
    pub applied: bool,
    /// How far it is.
    pub state: State,
    /// Rows of the file; unknown until the worker has looked at it.
    pub rows_total: Option<i32>,
    /// Names of columns that are not imported, also of a header that is no use. They go 7 days after the import was started.
    pub ignored_columns: Vec<String>,
    /// How the text of the file is written; unknown until the worker has looked at it.
    pub encoding: Option<Encoding>,
    /// Whether the file begins with the mark of its encoding.
    pub byte_order_mark: Option<bool>,
    /// What separates its cells.
    pub delimiter: Option<Delimiter>,
    /// What ends its lines; unknown as well where there is one line only.
    pub line_end: Option<LineEnd>,
    /// Rows that become members.
    pub rows_invited: i32,
    /// Rows that change members.
    pub rows_updated: i32,
    /// Rows that say what is stored.
    pub rows_unchanged: i32,
    /// Rows of which nothing becomes.
    pub rows_rejected: i32,
    /// Of those rejected, they lack nothing but a seat.
    pub rows_without_seat: i32,
    /// Seats that were free when the worker began.
    pub seats_free: Option<i32>,
    /// Seats that were counted before the first row, where they are required.
    pub seats_counted: Option<i32>,
    /// The row of the file at which a fault of the whole was found.
    pub error_row: Option<i32>,
    /// When somebody asked for it to end.
    pub cancel_requested_at: Option<Timestamp>,
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

/// Where an import stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    state: State,
    progress: Progress,
    applied: bool,
    /// Somebody asked for it to end.
    is_to_end: bool,
}

impl MemberImport {
    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress { done: self.rows_done(), total: self.rows_total }
    }

    /// With what was taken for the header in the sentence of a failure that is about it.
    fn explained(mut self) -> Self {
        let code = self.error_code.as_deref().and_then(|code| code.parse().ok());
        if let (Some(message), Some(code), Some(delimiter)) = (&mut self.error_message, code, self.delimiter)
            && let Some(told) = told_of_header(code, delimiter, &self.ignored_columns)
        {
            *message = format!("{message} {told}");
        }
        self
    }

    /// Rows that were dealt with, or looked at.
    pub fn rows_done(&self) -> i32 {
        self.rows_invited + self.rows_updated + self.rows_unchanged + self.rows_rejected
    }

    /// What of it is worth telling whoever follows it.
    pub fn stage(&self) -> Stage {
        Stage {
            state: self.state,
            progress: self.progress(),
            applied: self.applied,
            is_to_end: self.cancel_requested_at.is_some(),
        }
    }

    /// How many seats its new members need, and whether there are so many; unknown until the worker has looked at the file.
    pub fn seats(&self) -> Option<Seats> {
        let available = self.seats_free?;
        if let Some(required) = self.seats_counted.filter(|_| self.rows_total.is_some() && self.rows_done() == 0) {
            return Some(Seats { required, available, missing: (required - available).max(0) });
        }
        let required = self.rows_invited + self.rows_without_seat;
        let missing = if self.applied { self.rows_without_seat } else { (required - available).max(0) };
        Some(Seats { required, available, missing })
    }
}

/// Seats for the new members of a file, as far as its rows were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seats {
    /// For all of them.
    pub required: i32,
    /// Free when the worker began.
    pub available: i32,
    /// What is missing.
    pub missing: i32,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// The person becomes an invited member.
    Invited,
    /// A member gets other values, further roles or groups.
    Updated,
    /// A member is there as the row says.
    Unchanged,
    /// Nothing is done; the faults say why.
    Rejected,
}

impl Outcome {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "INVITED",
            Self::Updated => "UPDATED",
            Self::Unchanged => "UNCHANGED",
            Self::Rejected => "REJECTED",
        }
    }
}

/// What became of a row of a file.
#[derive(Clone, Debug, FromRow)]
pub struct RowOutcome {
    /// The row as a spreadsheet shows it: the header is row 1. A first line that names the separator counts as well.
    pub row_no: i32,
    /// What became of it.
    pub outcome: Outcome,
    /// The member it became; they may have been removed since.
    pub member_id: Option<MemberId>,
    /// What is wrong with it. The values go 7 days after the import was started.
    pub faults: Json<Vec<RowFault>>,
    /// Columns of which it has another value than what is stored.
    pub changes: Vec<String>,
    /// How many rows of its import lack a seat.
    missing: i32,
}

impl RowOutcome {
    fn lacks_seat(&self) -> bool {
        self.faults.iter().any(|fault| fault.code == FieldFault::NoSeat)
    }
}

/// Which rows of an import.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// Of these outcomes; of any if it is empty.
    pub outcomes: Vec<Outcome>,
    /// With one of these faults; with any or none if it is empty.
    pub codes: Vec<FieldFault>,
    /// With a fault in this column.
    pub column: Option<Column>,
}

impl RowFilter {
    fn push(&self, statement: &mut QueryBuilder<Postgres>) {
        if !self.outcomes.is_empty() {
            let outcomes: Vec<&str> = self.outcomes.iter().map(|outcome| outcome.as_str()).collect();
            statement.push(" AND outcome = ANY(").push_bind(outcomes).push(")");
        }
        if !self.codes.is_empty() {
            let codes: Vec<&str> = self.codes.iter().map(|code| code.as_str()).collect();
            statement.push(" AND EXISTS (SELECT FROM jsonb_array_elements(faults) f WHERE f->>'code' = ANY(");
            statement.push_bind(codes).push("))");
        }
        if let Some(column) = self.column {
            statement.push(" AND faults @> ").push_bind(serde_json::json!([{ "column": column }]));
        }
    }
}

macro_rules! select {
    () => {
        "SELECT import_id, upload_id, created_by, dry_run, send_welcome_email, update_existing, require_seats, all_or_nothing, applied, \
         state, rows_total, ignored_columns, encoding, byte_order_mark, delimiter, line_end, rows_invited, rows_updated, rows_unchanged, \
         rows_rejected, rows_without_seat, seats_free, seats_counted, error_code, error_message, error_row, cancel_requested_at, created_at, \
         started_at, finished_at FROM member_import WHERE account_id = "
    };
}

/// Reads imports by id; those that do not exist in the account are left out, and all of them unless the actor may read imports.
pub async fn read_many(conn: &mut PgConnection, actor: &Actor, ids: &[ImportId]) -> sqlx::Result<Vec<MemberImport>> {
    if !actor.can(Action::ReadImports) {
        return Ok(Vec::new());
    }
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let imports: Vec<MemberImport> = sqlx::query_as(concat!(select!(), "$1 AND import_id = ANY($2)"))
        .bind(actor.account_id.0)
        .bind(&raw)
        .fetch_all(conn)
        .await?;
    Ok(imports.into_iter().map(MemberImport::explained).collect())
}

/// Reads an import, for Muster itself.
pub(super) async fn find(
    conn: &mut PgConnection,
    account: AccountId,
    id: ImportId,
) -> sqlx::Result<Option<MemberImport>> {
    let found = sqlx::query_as(concat!(select!(), "$1 AND import_id = $2")).bind(account.0).bind(id.0);
    Ok(found.fetch_optional(conn).await?.map(MemberImport::explained))
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
        .map(MemberImport::explained)
        .map(|import| (Cursor::new(IMPORTS.0, SortValue::Instant(import.created_at), import.import_id.0), import)))
}

/// A page of what became of the rows of an import, in the order of the file, each with its cursor. The caller has looked at
/// the right to read imports.
pub async fn rows(
    db: &Db,
    conn: &mut PgConnection,
    actor: &Actor,
    id: ImportId,
    (filter, request): (&RowFilter, &Request),
) -> Result<Page<(Cursor, RowOutcome)>> {
    let mut statement = QueryBuilder::new(
        "SELECT row_no, outcome, member_id, faults, changes, (SELECT i.rows_without_seat FROM member_import i
             WHERE i.account_id = r.account_id AND i.import_id = r.import_id) AS missing
         FROM member_import_row r WHERE account_id = ",
    );
    statement.push_bind(actor.account_id.0).push(" AND import_id = ").push_bind(id.0);
    filter.push(&mut statement);
    request.push_to(&mut statement, "row_no", "import_id", false);
    let mut rows: Vec<RowOutcome> = statement.build_query_as().fetch_all(&mut *conn).await?;
    name_shortage(db, conn, actor, &mut rows).await?;
    Ok(request.page(rows).map(|row| (Cursor::new(ROWS.0, SortValue::Number(row.row_no), id.0), row)))
}

/// Says of rows without a seat how many of their import lack one, and what those would cost.
async fn name_shortage(db: &Db, conn: &mut PgConnection, actor: &Actor, rows: &mut [RowOutcome]) -> Result<()> {
    let Some(missing) = rows.iter().find(|row| row.lacks_seat()).map(|row| row.missing) else { return Ok(()) };
    let shortage = Shortage::of(db, conn, actor.account_id, actor.now, missing).await?;
    for fault in rows.iter_mut().flat_map(|row| row.faults.iter_mut()) {
        fault.name(&shortage);
    }
    Ok(())
}
