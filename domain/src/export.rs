//! Files that the service makes for people: lists of members, statements. Who asked for one gets it, by a link that holds for a few
//! minutes, and nobody else; after a week, and when somebody in it is erased, it is deleted.
//!
//! [`create_members`] and [`create_statement`] leave a job; a [`Run`] writes the file in the worker. The file is written anew from its beginning each time,
//! under a name of its own, and only the row of an export that is done leads to it: so half a file is never seen, wherever a worker
//! stops.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use jiff::SignedDuration;

use crate::actor::{Action, Actor, Reach, Rights, Target};
use crate::change::Change;
use crate::error::{AtField as _, Code, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, ExportId, MemberId, UnitId};
use crate::infra::clock::Timestamp;
use crate::job::{JobKind, NewJob};
use crate::member::Filter;
use crate::rate;

mod end;
mod link;
mod members;
mod purge;
mod run;
mod statement;

pub use end::{abandon, reopen};
pub use link::{Download, link, open};
pub use purge::{purge_expired, purge_one};
pub use run::{Halt, Order, Run, Taken};
pub use statement::{Issued, create_statement, read_statement};

/// How long a file is kept, counted again from when it is done.
pub const FILE_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, Serialize, Deserialize)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// Members, as CSV in the columns of an import.
    Members,
    /// A statement, to be printed.
    StatementPdf,
    /// A statement's lines.
    StatementCsv,
}

impl Kind {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Members => "MEMBERS",
            Self::StatementPdf => "STATEMENT_PDF",
            Self::StatementCsv => "STATEMENT_CSV",
        }
    }

    /// The type of the file, as HTTP names it.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Members | Self::StatementCsv => "text/csv; charset=utf-8",
            Self::StatementPdf => "application/pdf",
        }
    }
}

/// How far an export is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, Serialize, Deserialize)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// The worker did not begin yet.
    Queued,
    /// The file is being written.
    Running,
    /// The file is there.
    Done,
    /// There will be no file.
    Failed,
}

/// Why there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Whoever asked for it may not read that any more.
    NotPermitted,
    /// What it was about is gone.
    NothingLeft,
    /// It could not be written, time and again, or an operator gave it up.
    Abandoned,
}

impl Failure {
    /// As stored, and for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotPermitted => "NOT_PERMITTED",
            // As for an import whose file is gone.
            Self::NothingLeft => "FILE_LOST",
            Self::Abandoned => "ABANDONED",
        }
    }

    /// What is the case and what to do, for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotPermitted => {
                "You may not read any more what you wanted to export. Ask an administrator of the account."
            }
            Self::NothingLeft => "The statement is gone: nothing was owed in its period.",
            Self::Abandoned => "The file could not be made and was given up. Ask for it once more.",
        }
    }

    fn from_code(code: &str) -> Option<Self> {
        [Self::NotPermitted, Self::NothingLeft, Self::Abandoned].into_iter().find(|failure| failure.as_str() == code)
    }
}

/// An export as whoever asked for it sees it.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its id.
    pub export_id: ExportId,
    /// What is in the file.
    pub kind: Kind,
    /// How far it is.
    pub state: State,
    /// Rows in the file so far.
    pub rows_done: i32,
    /// Rows in all; unknown until the worker has looked.
    pub rows_total: Option<i32>,
    /// What the file is called.
    pub file_name: Option<String>,
    /// Bytes of the file.
    pub size_bytes: Option<i64>,
    /// Why there is none, for programs: a [`Failure`].
    pub error_code: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the worker began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it is deleted, with its file.
    pub expires_at: Timestamp,
}

impl Export {
    /// Why there is no file and what to do, for people.
    pub fn error_message(&self) -> Option<&'static str> {
        self.error_code.as_deref().and_then(Failure::from_code).map(Failure::sentence)
    }

    /// Whether its file can be read at this time.
    pub fn has_file(&self, now: Timestamp) -> bool {
        self.state == State::Done && self.expires_at > now
    }
}

/// What a job of [`JobKind::MakeExport`] or [`JobKind::EraseExport`] carries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// The export.
    pub export_id: ExportId,
}

/// Asks for a file with the members that the actor may read and that meet a filter. It is made in a cancelled account as well: nothing
/// of the account is changed, and people take along what is theirs.
///
/// # Errors
/// `NOT_PERMITTED`; `NOT_FOUND` at `filter`; `RATE_LIMITED`.
pub async fn create_members(change: &mut Change, actor: &Actor, filter: &Filter) -> Result<ExportId> {
    actor.may(Action::ReadMembers, Target::Anywhere)?;
    let standing = change.standing(actor).await?;
    standing.may(Action::ReadMembers, Target::Anywhere)?;
    let reach = standing.rights.grants.reach(Action::ReadMembers.permissions());
    check_filter(change, &reach, filter).await.at("filter")?;
    create(change, actor, Kind::Members, None, Some(filter)).await
}

/// A file is not made for a filter that nobody can meet because it names what does not exist, or lies outside of one's units.
async fn check_filter(change: &mut Change, reach: &Reach, filter: &Filter) -> Result<()> {
    let account = change.account();
    let found = sqlx::query!(
        r#"SELECT $2::uuid IS NULL OR EXISTS (SELECT FROM role WHERE account_id = $1 AND role_id = $2) AS "role!",
                  $3::uuid IS NULL OR EXISTS (SELECT FROM member_group WHERE account_id = $1 AND group_id = $3) AS "group!",
                  $4::uuid IS NULL OR EXISTS (SELECT FROM unit WHERE account_id = $1 AND unit_id = $4) AS "unit!""#,
        account.0,
        filter.role_id.map(|role| role.0),
        filter.group_id.map(|group| group.0),
        filter.unit_id.map(|unit| unit.0),
    )
    .fetch_one(change.conn())
    .await?;
    let within = filter.unit_id.is_none_or(|unit| reach.includes(&[unit]));
    for (name, there) in [("roleId", found.role), ("groupId", found.group), ("unitId", found.unit && within)] {
        if !there {
            return Err(Refused::new(Code::NotFound).at(name).into());
        }
    }
    Ok(())
}

/// Writes the row, the event and the job. The caller has looked at the right.
async fn create(
    change: &mut Change,
    actor: &Actor,
    kind: Kind,
    subject: Option<Uuid>,
    filter: Option<&Filter>,
) -> Result<ExportId> {
    let (db, account, now, id) = (change.db().clone(), change.account(), change.now(), ExportId::new());
    rate::hit(&db, change.conn(), rate::EXPORT_ACCOUNT, &account.to_string(), now).await??;
    sqlx::query!(
        "INSERT INTO export (account_id, export_id, kind, requested_by, subject_id, filter, state, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'QUEUED', $7, $8)",
        account.0,
        id.0,
        kind.as_str(),
        actor.member_id.0,
        subject,
        filter.map(Json) as Option<Json<&Filter>>,
        now,
        now + FILE_LIFETIME,
    )
    .execute(change.conn())
    .await?;
    change.record(NewEvent::new(EventKind::ExportCreated).subject(id.0).detail(json!({ "export": id, "kind": kind })));
    change.enqueue(NewJob {
        account_id: account.0,
        kind: JobKind::MakeExport,
        payload: serde_json::to_value(Payload { export_id: id }).expect("plain data"),
        dedupe_key: id.to_string(),
    });
    Ok(id)
}

/// Reads exports by id: those that the actor asked for.
pub async fn read_many(conn: &mut PgConnection, actor: &Actor, ids: &[ExportId]) -> sqlx::Result<Vec<Export>> {
    let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_as!(
        Export,
        r#"SELECT export_id AS "export_id: ExportId", kind AS "kind: Kind", state AS "state: State", rows_done, rows_total, file_name,
                  size_bytes, error_code, created_at, started_at, finished_at, expires_at
           FROM export WHERE account_id = $1 AND export_id = ANY($2) AND requested_by = $3"#,
        actor.account_id.0,
        &raw,
        actor.member_id.0,
    )
    .fetch_all(conn)
    .await
}

/// What somebody may have in a file of a kind: `None` nothing, an inner `None` whatever the account has, else only what belongs to these
/// units.
#[expect(clippy::option_option, reason = "nothing, everything, or some of it")]
fn scope(kind: Kind, rights: &Rights) -> Option<Option<Vec<UnitId>>> {
    let (action, limitable) = match kind {
        Kind::Members => (Action::ReadMembers, true),
        Kind::StatementPdf | Kind::StatementCsv => (Action::ReadBilling, false),
    };
    match rights.grants.reach(action.permissions()) {
        Reach::Everywhere => Some(None),
        Reach::Units(units) if limitable => Some(Some(units)),
        Reach::Units(_) | Reach::Nowhere => None,
    }
}

/// The folder of an export's files.
fn folder(account: AccountId, export: ExportId) -> String {
    format!("exports/{}/{}", account.0.simple(), export.0.simple())
}

/// The row of an export as whoever holds its job sees it.
struct Row {
    kind: Kind,
    requested_by: MemberId,
    subject_id: Option<Uuid>,
    filter: Option<Json<Filter>>,
    state: State,
    file_key: Option<String>,
}

/// Locks an export.
async fn lock(change: &mut Change, id: ExportId) -> Result<Option<Row>> {
    let account = change.account();
    Ok(sqlx::query_as!(
        Row,
        r#"SELECT kind AS "kind: Kind", requested_by AS "requested_by: MemberId", subject_id, filter AS "filter: Json<Filter>",
                  state AS "state: State", file_key
           FROM export WHERE account_id = $1 AND export_id = $2 FOR NO KEY UPDATE"#,
        account.0,
        id.0,
    )
    .fetch_optional(change.conn())
    .await?)
}
