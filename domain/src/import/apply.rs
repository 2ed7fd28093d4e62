//! All rows or none: the file was looked through row by row without a fault, its seats are held, and now one transaction does all
//! of it. The pool is not touched in it, and the account's feed only at its end, so that others go on meanwhile.

use tokio::time::sleep;
use uuid::Uuid;

use super::Failure;
use super::batch::{give_seats, standing};
use super::batches::Batches;
use super::column::Header;
use super::duplicates::SeenAddresses;
use super::encoding::Encoding;
use super::fate::{Fate, Hold, Judged, Tally, decide};
use super::look::{head, open};
use super::options::Options;
use super::relied::Relied;
use super::run::{ATTEMPTS, BATCH, Halt, Run, Step};
use super::write::{self, refresh_statistics};
use crate::actor::{Author, Standing};
use crate::change::{Change, Kind, is_transient, pause_after};
use crate::error::{Error, Result};
use crate::id::MemberId;
use crate::infra::fault::fail_point;
use crate::infra::metrics;
use crate::member::status::hold_in_order;
use crate::{invitation, license, upload};

/// Batches of overdue invitations that lapse beforehand.
const LAPSES: usize = 1_000;

/// The one transaction.
struct Work {
    change: Change,
    /// What the importer may do, as of the last look.
    standing: Standing,
    options: Options,
    relied: Relied,
    /// Rows that change somebody, in their order.
    edited: Vec<u32>,
}

impl Work {
    async fn decide(&mut self, header: &Header, chunk: &[Judged], hold: Hold) -> Result<Vec<Fate>> {
        decide(&mut self.change, &self.standing, (&self.options, header), chunk, hold).await
    }

    /// Notes what takes effect.
    fn note(&mut self, chunk: &[Judged], fates: &[Fate]) {
        self.relied.add(fates);
        let edited = chunk.iter().zip(fates).filter(|(_, fate)| matches!(fate, Fate::Updated(_)));
        self.edited.extend(edited.map(|(judged, _)| judged.row));
    }

    /// Whether the importer may still do all of it. In all this time somebody's rights will have changed, and again while that is
    /// looked at: it is so until they have not.
    async fn still_holds(&mut self) -> Result<bool, Halt> {
        for _ in 0..ATTEMPTS {
            let now = standing(&mut self.change, self.standing.member_id, &self.options).await?;
            if now.rights.version == self.standing.rights.version {
                return Ok(true);
            }
            if !self.relied.holds(&mut self.change, &now).await? {
                return Ok(false);
            }
            self.standing = now;
        }
        Err(Error::Stale.into())
    }
}

/// What the one transaction came to.
enum Applied {
    Yes,
    /// What was good when it was looked at is no longer.
    Differs,
}

impl Run {
    /// Lets all rows take effect.
    pub(super) async fn apply(&mut self) -> Result<Step, Halt> {
        let mut conn = self.db.pool.acquire().await?;
        let counts = sqlx::query!(
            "SELECT rows_invited, rows_rejected FROM member_import WHERE account_id = $1 AND import_id = $2",
            self.account.0,
            self.import.0,
        )
        .fetch_one(&mut *conn)
        .await?;
        drop(conn);
        if counts.rows_rejected > 0 {
            return Err(Halt::Failed(Failure::RowsRejected(counts.rows_rejected)));
        }
        self.hold_all(counts.rows_invited).await?;
        fail_point!("import.before_apply");
        for attempt in 1..=ATTEMPTS {
            match self.try_apply().await {
                Err(Halt::Error(error)) if is_transient(&error) => sleep(pause_after(attempt)).await,
                Ok(Applied::Yes) => {
                    fail_point!("import.after_apply");
                    self.begun().done = true;
                    return Ok(Step::Going);
                }
                Ok(Applied::Differs) => return self.look_again().await,
                Err(halt) => return Err(halt),
            }
        }
        Err(Error::Busy.into())
    }

    /// Lets what is overdue lapse beforehand, so that the one transaction need not lock the pool for it.
    async fn lapse_overdue(&mut self) -> Result<(), Halt> {
        let author = Author::Member(self.begun().created_by);
        for _ in 0..LAPSES {
            let mut change = self.change(Kind::Asked, author).await?;
            license::lock(&mut change).await?;
            let lapsed = invitation::lapse_overdue(&mut change).await?;
            if lapsed == 0 {
                break;
            }
            change.commit().await?;
        }
        Ok(())
    }

    async fn try_apply(&mut self) -> Result<Applied, Halt> {
        self.lapse_overdue().await?;
        let author = Author::Member(self.begun().created_by);
        let mut change = self.change(Kind::Asked, author).await?;
        let begun = self.begun();
        let (importer, options) = (begun.created_by, begun.options.clone());
        let standing = standing(&mut change, importer, &options).await?;
        let mut work = Work { change, standing, options, relied: Relied::default(), edited: Vec::new() };
        let Some(total) = self.invite_all(&mut work).await? else { return Ok(Applied::Differs) };
        if !self.edit_all(&mut work).await? {
            return Ok(Applied::Differs);
        }
        work.relied.lock_groups(&mut work.change).await?;
        self.mark_applied(&mut work.change, &total).await?;
        if !work.still_holds().await? {
            return Ok(Applied::Differs);
        }
        let Work { change, .. } = work;
        change.commit().await?;
        self.begun().seats_held -= total.invited;
        metrics::import_rows(usize::try_from(total.invited).unwrap_or_default(), 0);
        Ok(Applied::Yes)
    }

    /// Invites whoever is new, and names whom each row is about. `None` when a row cannot take effect any more.
    async fn invite_all(&mut self, work: &mut Work) -> Result<Option<Tally>, Halt> {
        let mut batches = self.reopen().await?;
        let (held, send) = (self.begun().seats_held, work.options.send_welcome_email);
        let mut total = Tally::default();
        loop {
            let chunk = batches.next().await?;
            if chunk.is_empty() {
                return Ok(Some(total));
            }
            self.look_for_cancel(&mut work.change).await?;
            let mut fates = work.decide(batches.header(), &chunk, Hold::Replaced).await?;
            let change = &mut work.change;
            give_seats(change, &mut fates, held - total.invited, send, true).await?;
            let tally = Tally::of(&fates);
            if tally.rejected > 0 {
                return Ok(None);
            }
            let members = write::invite(change, (work.standing.member_id, send), &fates).await?;
            name_members(change, self.import.0, &chunk, &fates, members).await?;
            let first = total.rows() == 0;
            total.add(&tally);
            change.spill().await?;
            if first {
                refresh_statistics(change.conn()).await?;
            }
            work.note(&chunk, &fates);
        }
    }

    /// Changes those who are there already. It comes last, so that nobody waits for them all the while, and they are locked in one
    /// order before the first of them is changed. False when a row cannot take effect any more.
    async fn edit_all(&mut self, work: &mut Work) -> Result<bool, Halt> {
        if work.edited.is_empty() {
            return Ok(true);
        }
        hold_in_order(&mut work.change, &work.relied.edited()).await?;
        let mut batches = self.reopen().await?;
        loop {
            let mut chunk = batches.next().await?;
            if chunk.is_empty() {
                return Ok(true);
            }
            chunk.retain(|judged| work.edited.binary_search(&judged.row).is_ok());
            if chunk.is_empty() {
                continue;
            }
            self.look_for_cancel(&mut work.change).await?;
            let fates = work.decide(batches.header(), &chunk, Hold::Edited).await?;
            let tally = Tally::of(&fates);
            if tally.rejected > 0 {
                return Ok(false);
            }
            if tally.updated != tally.rows() {
                // Somebody has done the same meanwhile, say.
                return Err(Error::Stale.into());
            }
            write::edit(&mut work.change, &work.standing, &fates).await?;
            work.change.spill().await?;
        }
    }

    async fn reopen(&mut self) -> Result<Batches, Halt> {
        let mut conn = self.db.pool.acquire().await?;
        let head = head(&mut conn, self.account, self.import).await?.ok_or(Halt::Superseded)?;
        let stored = upload::find_file(&mut conn, self.account, head.upload_id).await?;
        drop(conn);
        let stored = stored.ok_or(Halt::Failed(Failure::FileLost))?;
        let file = open(&self.files, &stored, head.encoding.unwrap_or(Encoding::Utf8), self.limits).await?;
        Ok(Batches::read((self.db.clone(), self.account), file, SeenAddresses::default(), BATCH))
    }

    /// Locks nothing, so that whoever asks for the end does not wait for it.
    async fn look_for_cancel(&mut self, change: &mut Change) -> Result<(), Halt> {
        let canceled = sqlx::query_scalar!(
            r#"SELECT cancel_requested_at IS NOT NULL AS "canceled!" FROM member_import
               WHERE account_id = $1 AND import_id = $2 AND state = 'RUNNING' AND NOT applied"#,
            self.account.0,
            self.import.0,
        )
        .fetch_optional(change.conn())
        .await?;
        match canceled {
            None => Err(Halt::Superseded),
            Some(true) => Err(Halt::Canceled),
            Some(false) => Ok(()),
        }
    }

    async fn mark_applied(&mut self, change: &mut Change, total: &Tally) -> Result<(), Halt> {
        let marked = sqlx::query!(
            "UPDATE member_import SET applied = true, rows_invited = $3, rows_updated = $4, rows_unchanged = $5,
                    seats_held = seats_held - $3
             WHERE account_id = $1 AND import_id = $2 AND state = 'RUNNING' AND NOT applied AND cancel_requested_at IS NULL
               AND rows_done = $3::int + $4::int + $5::int",
            self.account.0,
            self.import.0,
            total.invited,
            total.updated,
            total.unchanged,
        )
        .execute(change.conn())
        .await?;
        if marked.rows_affected() == 1 {
            return Ok(());
        }
        self.look_for_cancel(change).await?;
        Err(Error::Stale.into())
    }

    /// Looks at all rows again: somebody has changed what they depend on.
    async fn look_again(&mut self) -> Result<Step, Halt> {
        let author = Author::Member(self.begun().created_by);
        let mut change = self.change(Kind::Asked, author).await?;
        sqlx::query!(
            "WITH rows AS (DELETE FROM member_import_row WHERE account_id = $1 AND import_id = $2)
             UPDATE member_import SET next_row = 0, next_offset = 0, rows_done = 0, rows_invited = 0, rows_updated = 0,
                    rows_unchanged = 0, rows_rejected = 0, rows_without_seat = 0
             WHERE account_id = $1 AND import_id = $2 AND state = 'RUNNING' AND NOT applied",
            self.account.0,
            self.import.0,
        )
        .execute(change.conn())
        .await?;
        change.commit().await?;
        self.begun = None;
        Ok(Step::Going)
    }
}

/// Writes what became of each row, now that there are members.
async fn name_members(
    change: &mut Change,
    import: Uuid,
    chunk: &[Judged],
    fates: &[Fate],
    new: Vec<MemberId>,
) -> Result<()> {
    let mut new = new.into_iter().map(|member| member.0);
    let (mut rows, mut outcomes, mut members) = (Vec::new(), Vec::new(), Vec::new());
    for (judged, fate) in chunk.iter().zip(fates) {
        rows.push(i32::try_from(judged.row).expect("bounded by the limit on rows"));
        outcomes.push(fate.outcome().as_str().to_owned());
        members.push(match fate {
            Fate::Invited(..) => new.next(),
            Fate::Updated(edit) => Some(edit.member_id.0),
            Fate::Unchanged(member) => Some(member.0),
            Fate::Rejected(_) => None,
        });
    }
    let account = change.account();
    sqlx::query!(
        "UPDATE member_import_row r SET member_id = u.member_id, outcome = u.outcome, email_digest = NULL
         FROM unnest($3::int[], $4::text[], $5::uuid[]) u(row_no, outcome, member_id)
         WHERE r.account_id = $1 AND r.import_id = $2 AND r.row_no = u.row_no",
        account.0,
        import,
        &rows,
        &outcomes,
        &members as &[Option<Uuid>],
    )
    .execute(change.conn())
    .await?;
    Ok(())
}
