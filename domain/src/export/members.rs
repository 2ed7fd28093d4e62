//! Members as CSV, in the columns of an import: read page by page from one look at the database, so that the list is that of one moment
//! and memory holds one page of it.

use std::time::Duration;

use bytes::Bytes;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row as _};
use uuid::Uuid;

use crate::actor::WHOLE_ACCOUNT;
use crate::id::MemberId;
use crate::import::column::Column;
use crate::import::report::{BYTE_ORDER_MARK, guarded};
use crate::import::row::joined;
use crate::infra::db::Db;
use crate::member::list::{Filter, push_filter};
use crate::member::sight::Sight;
use crate::profile::SubscriptionType;

/// Members of a page.
const PAGE: usize = 1_000;

/// A page that is not there by then does not come any more: nothing else cuts a statement off here.
const PATIENCE: Duration = Duration::from_mins(5);

/// The members as they were when the first of them was read.
pub(super) struct Snapshot {
    conn: PgConnection,
    sight: Sight,
    filter: Filter,
    after: Option<(String, MemberId)>,
}

/// Some members.
pub(super) struct Page {
    pub(super) ids: Vec<MemberId>,
    pub(super) rows: Bytes,
}

#[derive(FromRow)]
#[expect(clippy::struct_field_names, reason = "columns of the table")]
struct Member {
    member_id: MemberId,
    email: String,
    first_name: Option<String>,
    last_name: Option<String>,
    initials: Option<String>,
    time_zone: Option<String>,
    address: Option<String>,
    city: Option<String>,
    state: Option<String>,
    zip: Option<String>,
    country: Option<String>,
    phone: Option<String>,
    subscription_type: Option<SubscriptionType>,
    job_title: Option<String>,
    roles: Vec<String>,
    groups: Vec<String>,
    sort_name: String,
}

impl Snapshot {
    /// Opens a connection for it: the statements of others wait for none of these.
    pub(super) async fn open(db: &Db, sight: Sight, filter: Filter) -> sqlx::Result<Self> {
        let mut conn = db.unhurried().await?;
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut conn).await?;
        Ok(Self { conn, sight, filter, after: None })
    }

    /// How many there are.
    pub(super) async fn count(&mut self) -> sqlx::Result<i32> {
        let mut statement = QueryBuilder::new("SELECT count(*) ");
        self.push_wanted(&mut statement);
        let count =
            within(statement.build().persistent(false).fetch_one(&mut self.conn)).await?.try_get::<i64, _>(0)?;
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// The next ones, by name; none at the end.
    pub(super) async fn next(&mut self) -> sqlx::Result<Option<Page>> {
        // Roles within units cannot be said in a file; an archived group takes nobody in.
        let mut statement = QueryBuilder::new(
            "SELECT m.member_id, m.email, m.first_name, m.last_name, m.initials, m.time_zone, m.address, m.city, m.state, m.zip, m.country, \
             m.phone, m.subscription_type, m.job_title, m.sort_name, \
             ARRAY(SELECT r.name FROM member_role a JOIN role r USING (account_id, role_id) \
                   WHERE a.account_id = m.account_id AND a.member_id = m.member_id AND r.archived_at IS NULL AND a.unit_id = ",
        );
        statement.push_bind(WHOLE_ACCOUNT.0).push(
            " ORDER BY r.name) AS roles, \
             ARRAY(SELECT g.name FROM group_member a JOIN member_group g USING (account_id, group_id) \
                   WHERE a.account_id = m.account_id AND a.member_id = m.member_id AND g.archived_at IS NULL ORDER BY g.name) AS groups ",
        );
        self.push_wanted(&mut statement);
        if let Some((name, id)) = &self.after {
            statement.push(" AND (m.sort_name, m.member_id) > (").push_bind(name.clone()).push(", ");
            statement.push_bind(id.0).push(")");
        }
        statement.push(format_args!(" ORDER BY m.sort_name, m.member_id LIMIT {PAGE}"));
        let members: Vec<Member> =
            within(statement.build_query_as().persistent(false).fetch_all(&mut self.conn)).await?;
        let Some(last) = members.last() else { return Ok(None) };
        self.after = Some((last.sort_name.clone(), last.member_id));
        let ids = members.iter().map(|member| member.member_id).collect();
        Ok(Some(Page { ids, rows: lines(members.iter().map(Member::cells)) }))
    }

    fn push_wanted(&self, statement: &mut QueryBuilder<Postgres>) {
        statement.push(" FROM member m WHERE m.account_id = ").push_bind(self.sight.account());
        self.sight.push_readable_others(statement, "m.member_id");
        push_filter(statement, &self.sight, &self.filter);
    }
}

async fn within<T>(asked: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// What the file begins with: the mark by which spreadsheets recognise UTF-8, and the names of the columns.
pub(super) fn header() -> Bytes {
    let names = lines(std::iter::once(Column::ALL.map(|column| column.name().to_owned())));
    [BYTE_ORDER_MARK, &names].concat().into()
}

impl Member {
    /// In the order of the columns, each as an import reads it to what is stored.
    fn cells(&self) -> [String; Column::ALL.len()] {
        Column::ALL.map(|column| {
            let text = match column {
                Column::Email => Some(&self.email),
                Column::FirstName => self.first_name.as_ref(),
                Column::LastName => self.last_name.as_ref(),
                Column::Initials => self.initials.as_ref(),
                Column::TimeZone => self.time_zone.as_ref(),
                Column::Address => self.address.as_ref(),
                Column::City => self.city.as_ref(),
                Column::State => self.state.as_ref(),
                Column::Zip => self.zip.as_ref(),
                Column::Country => self.country.as_ref(),
                Column::Phone => self.phone.as_ref(),
                Column::JobTitle => self.job_title.as_ref(),
                Column::SubscriptionType => {
                    return self.subscription_type.map(|kind| kind.word().to_owned()).unwrap_or_default();
                }
                Column::Roles => return joined(&self.roles),
                Column::Groups => return joined(&self.groups),
            };
            text.cloned().unwrap_or_default()
        })
    }
}

/// Lines of CSV that no spreadsheet takes for formulas.
fn lines(rows: impl Iterator<Item = [String; Column::ALL.len()]>) -> Bytes {
    let mut builder = csv::WriterBuilder::new();
    let mut writer = builder.terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.iter().map(|cell| guarded(cell))).expect("a vector takes every byte");
    }
    writer.into_inner().expect("a vector takes every byte").into()
}

/// For those who keep who is named.
pub(super) fn sorted(ids: &[MemberId]) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    ids
}
