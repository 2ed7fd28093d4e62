//! The look through the whole file before anything of it is imported, and the way back to where another worker stopped.

use tokio::io::{AsyncReadExt as _, sink};

use super::batches::Batches;
use super::column::Header;
use super::duplicates::SeenAddresses;
use super::encoding::{Encoding, Text, decoded, detect};
use super::fate::{Hold, Judged, Tally, decide};
use super::file::{self, FileFault, FileLimits, MemberFile, ReadError, Resume, Survey};
use super::options::Options;
use super::row::shown;
use super::run::{BATCH, Begun, Halt, Run, Source, Step};
use super::{Failure, State, batch};
use crate::actor::Author;
use crate::change::Kind;
use crate::id::{AccountId, GroupId, ImportId, MemberId, RoleId, UploadId};
use crate::infra::fault::fail_point;
use crate::infra::files::Files;
use crate::invitation::ErrorPolicy;
use crate::license;
use crate::upload::{self, Stored};

/// An import as it is stored when a worker takes it up.
pub(super) struct Head {
    pub(super) upload_id: UploadId,
    pub(super) created_by: MemberId,
    pub(super) options: Options,
    state: State,
    next_row: i32,
    next_offset: i64,
    pub(super) encoding: Option<Encoding>,
    rows_total: Option<i32>,
    rows_done: i32,
    pub(super) seats_held: i32,
    pub(super) rows_without_seat: i32,
    seats_counted: Option<i32>,
    applied: bool,
    canceled: bool,
}

impl Run {
    pub(super) async fn begin(&mut self) -> Result<Step, Halt> {
        let mut conn = self.db.pool.acquire().await?;
        let head = head(&mut conn, self.account, self.import).await?;
        let Some(mut head) = head.filter(|head| matches!(head.state, State::Queued | State::Running)) else {
            return Ok(Step::Nothing);
        };
        let stored = upload::find_file(&mut conn, self.account, head.upload_id).await?;
        drop(conn);
        let all_done = head.applied && head.options.all_or_nothing() && !head.options.dry_run;
        if head.canceled && !all_done {
            return Err(Halt::Canceled);
        }
        let stored = stored.ok_or(Halt::Failed(Failure::FileLost))?;
        if head.rows_total.is_none() {
            self.survey(&mut head, &stored).await?;
        }
        let encoding = head.encoding.unwrap_or(Encoding::Utf8);
        let (file, seen) = self.open(&head, &stored, encoding).await?;
        self.begun = Some(Begun {
            created_by: head.created_by,
            batches: Batches::read((self.db.clone(), self.account), file, seen, BATCH),
            rows_left: head.rows_total.unwrap_or_default() - head.rows_done,
            next_row: head.next_row,
            seats_held: head.seats_held,
            done: all_done,
            options: head.options,
            wanted: 0,
            batch: Vec::new(),
        });
        self.reserve(head.seats_counted, &stored, encoding).await?;
        Ok(Step::Going)
    }

    /// Looks through the whole file before anything of it is imported.
    async fn survey(&mut self, head: &mut Head, stored: &Stored) -> Result<(), Halt> {
        let text = detect(upload::open_stream(&self.files, stored, 0).await?).await.map_err(ReadError::from)?;
        let text = text.ok_or(ReadError::File(FileFault::NotText, None))?;
        let source = source(&self.files, stored, text.encoding, 0).await?;
        let surveyed = match file::survey(source, self.limits).await {
            Ok(survey) if survey.records == 0 => Err(FileFault::NoRows.into()),
            other => other,
        };
        if matches!(surveyed, Err(ReadError::File(..))) {
            self.record_format(stored, text).await?;
        }
        let survey = surveyed?;
        let total = i32::try_from(survey.records).expect("bounded by the limit on rows");
        self.record_survey(head, text, &survey, total).await?;
        fail_point!("import.after_survey");
        head.rows_total = Some(total);
        head.encoding = Some(text.encoding);
        Ok(())
    }

    /// Stores how a file is written that cannot be imported, so that whoever mends it sees what was made of it.
    async fn record_format(&mut self, stored: &Stored, text: Text) -> Result<(), Halt> {
        let source = source(&self.files, stored, text.encoding, 0).await?;
        let Some(format) = file::format_of(source).await.map_err(ReadError::from)? else { return Ok(()) };
        let names: Vec<String> = format.unknown_names.iter().map(|name| shown(name)).collect();
        // Also in an account that is read-only by now.
        let mut change = self.change(Kind::System, Author::System).await?;
        sqlx::query!(
            "UPDATE member_import SET ignored_columns = $3, encoding = $4, byte_order_mark = $5, delimiter = $6, line_end = $7
             WHERE account_id = $1 AND import_id = $2 AND state = 'QUEUED'",
            self.account.0,
            self.import.0,
            &names,
            text.encoding.as_str(),
            text.byte_order_mark,
            format.delimiter.as_str(),
            format.line_end.map(super::column::LineEnd::as_str),
        )
        .execute(change.conn())
        .await?;
        change.commit().await?;
        Ok(())
    }

    async fn record_survey(&mut self, head: &Head, text: Text, survey: &Survey, total: i32) -> Result<(), Halt> {
        let ignored: Vec<String> = survey.header.unknown_names().map(shown).collect();
        let mut change = self.change(Kind::Asked, Author::Member(head.created_by)).await?;
        let free = license::obtainable(&mut change).await?;
        let now = change.now();
        sqlx::query!(
            "UPDATE member_import SET state = 'RUNNING', started_at = $3, rows_total = $4, ignored_columns = $5, encoding = $6,
                    byte_order_mark = $7, delimiter = $8, line_end = $9, seats_free = $10
             WHERE account_id = $1 AND import_id = $2 AND state = 'QUEUED'",
            self.account.0,
            self.import.0,
            now,
            total,
            &ignored,
            text.encoding.as_str(),
            text.byte_order_mark,
            survey.header.delimiter().as_str(),
            survey.line_end.map(super::column::LineEnd::as_str),
            free,
        )
        .execute(change.conn())
        .await?;
        change.commit().await?;
        Ok(())
    }

    /// Opens the file where to go on, with the addresses before.
    async fn open(
        &mut self,
        head: &Head,
        stored: &Stored,
        encoding: Encoding,
    ) -> Result<(MemberFile<Source>, SeenAddresses), Halt> {
        let (files, limits) = (&self.files, self.limits);
        let file = open(files, stored, encoding, limits).await?;
        if head.next_row == 0 {
            return Ok((file, SeenAddresses::default()));
        }
        let row = u32::try_from(head.next_row).expect("a row of a file");
        let offset = u64::try_from(head.next_offset).expect("a place in a file");
        let seen = SeenAddresses::before(row, source(files, stored, encoding, 0).await?, limits).await?;
        let resume = Resume { offset, row, ..file.position() };
        let file = MemberFile::resume(source(files, stored, encoding, offset).await?, resume, limits);
        Ok((file.map_err(ReadError::from)?, seen))
    }

    /// Where seats are required beforehand: counts how many the file needs, before its first row, and holds them.
    async fn reserve(&mut self, counted: Option<i32>, stored: &Stored, encoding: Encoding) -> Result<(), Halt> {
        let options = &self.begun().options;
        if !options.require_seats || !options.at_once() || self.begun().next_row > 0 {
            return Ok(());
        }
        let required = match counted {
            Some(required) => required,
            None => self.count_new(stored, encoding).await?,
        };
        if counted.is_none() {
            self.note_counted(required).await?;
        }
        self.hold_all(required).await
    }

    async fn note_counted(&mut self, required: i32) -> Result<(), Halt> {
        let mut change = self.change(Kind::System, Author::System).await?;
        sqlx::query!(
            "UPDATE member_import SET seats_counted = $3 WHERE account_id = $1 AND import_id = $2",
            self.account.0,
            self.import.0,
            required,
        )
        .execute(change.conn())
        .await?;
        change.commit().await?;
        Ok(())
    }

    /// How many of the file's rows would become members, as far as seats do not matter.
    async fn count_new(&mut self, stored: &Stored, encoding: Encoding) -> Result<i32, Halt> {
        let file = open(&self.files, stored, encoding, self.limits).await?;
        let mut batches = Batches::read((self.db.clone(), self.account), file, SeenAddresses::default(), BATCH);
        let mut required = 0;
        loop {
            let rows = batches.next().await?;
            if rows.is_empty() {
                return Ok(required);
            }
            required += self.tally(batches.header(), &rows).await?.invited;
        }
    }

    async fn tally(&mut self, header: &Header, rows: &[Judged]) -> Result<Tally, Halt> {
        let author = Author::Member(self.begun().created_by);
        let mut change = self.change(Kind::Asked, author).await?;
        let begun = self.begun();
        let standing = batch::standing(&mut change, begun.created_by, &begun.options).await?;
        let fates = decide(&mut change, &standing, (&begun.options, header), rows, Hold::Nobody).await?;
        Ok(Tally::of(&fates))
    }
}

/// The file as UTF-8, from a byte of that on.
pub(super) async fn source(
    files: &Files,
    stored: &Stored,
    encoding: Encoding,
    offset: u64,
) -> Result<Source, object_store::Error> {
    if encoding == Encoding::Utf8 {
        return Ok(Box::new(upload::open_stream(files, stored, offset).await?));
    }
    let mut decoded = decoded(upload::open_stream(files, stored, 0).await?, encoding);
    let skipped = tokio::io::copy(&mut (&mut decoded).take(offset), &mut sink()).await;
    skipped.map_err(|error| object_store::Error::Generic { store: "files", source: Box::new(error) })?;
    Ok(Box::new(decoded))
}

/// The file from its header on.
pub(super) async fn open(
    files: &Files,
    stored: &Stored,
    encoding: Encoding,
    limits: FileLimits,
) -> Result<MemberFile<Source>, Halt> {
    Ok(MemberFile::open(source(files, stored, encoding, 0).await?, limits).await?)
}

pub(super) async fn head(
    conn: &mut sqlx::PgConnection,
    account: AccountId,
    import: ImportId,
) -> sqlx::Result<Option<Head>> {
    let row = sqlx::query!(
        r#"SELECT upload_id AS "upload_id: UploadId", created_by AS "created_by: MemberId", state AS "state: State", dry_run,
                  send_welcome_email, update_existing, require_seats, all_or_nothing, default_roles AS "default_roles: Vec<RoleId>",
                  default_groups AS "default_groups: Vec<GroupId>", next_row, next_offset, encoding AS "encoding: Encoding", rows_total,
                  rows_done, seats_held, rows_without_seat, seats_counted, applied, cancel_requested_at IS NOT NULL AS "canceled!"
           FROM member_import WHERE account_id = $1 AND import_id = $2"#,
        account.0,
        import.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Head {
        upload_id: row.upload_id,
        created_by: row.created_by,
        options: Options {
            dry_run: row.dry_run,
            send_welcome_email: row.send_welcome_email,
            update_existing: row.update_existing,
            require_seats: row.require_seats,
            error_policy: if row.all_or_nothing { ErrorPolicy::AllOrNothing } else { ErrorPolicy::Partial },
            default_roles: row.default_roles,
            default_groups: row.default_groups,
        },
        state: row.state,
        next_row: row.next_row,
        next_offset: row.next_offset,
        encoding: row.encoding,
        rows_total: row.rows_total,
        rows_done: row.rows_done,
        seats_held: row.seats_held,
        rows_without_seat: row.rows_without_seat,
        seats_counted: row.seats_counted,
        applied: row.applied,
        canceled: row.canceled,
    }))
}
