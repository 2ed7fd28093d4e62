//! One transaction of an import: some rows become members, change them, or are rejected, and the import stands behind them.

use serde_json::Value;
use uuid::Uuid;

use super::column::Column;
use super::fate::{Fate, Hold, Judged, Tally, decide, edits, invited};
use super::options::Options;
use super::row::RowFault;
use super::run::{Halt, Run};
use super::{Failure, write};
use crate::actor::{Action, Author, Standing, Target};
use crate::change::{Change, Kind};
use crate::error::{Code, Detail, Error, Result};
use crate::id::{GroupId, MemberId, RoleId};
use crate::infra::db::Db;
use crate::infra::email_address::EmailAddress;
use crate::infra::metrics;
use crate::invitation;
use crate::member::place::check_groups;
use crate::outbox;
use crate::profile::FieldFault;

/// What a batch came to.
pub(super) struct Written {
    pub(super) next_row: i32,
    pub(super) tally: Tally,
}

impl Run {
    /// Writes the batch that was read, or only what would become of it. The seats were taken before; the pool is locked only where
    /// an overdue invitation is in the way and lapses first.
    pub(super) async fn commit_batch(&mut self) -> Result<Written, Halt> {
        let (account, import, author) = (self.account.0, self.import.0, Author::Member(self.begun().created_by));
        let mut change = self.change(Kind::Asked, author).await?;
        let begun = self.begun();
        let now = sqlx::query!(
            r#"SELECT seats_held, seats_free, rows_invited, cancel_requested_at IS NOT NULL AS "canceled!" FROM member_import
               WHERE account_id = $1 AND import_id = $2 AND state = 'RUNNING' AND next_row = $3 FOR NO KEY UPDATE"#,
            account,
            import,
            begun.next_row,
        )
        .fetch_optional(change.conn())
        .await?
        .ok_or(Halt::Superseded)?;
        if now.canceled {
            return Err(Halt::Canceled);
        }
        let (at_once, looked_up) = (begun.options.at_once(), begun.wanted);
        let standing = standing(&mut change, begun.created_by, &begun.options).await?;
        let looks = (&begun.options, begun.batches.header());
        let mut fates =
            decide(&mut change, &standing, looks, &begun.batch, if at_once { Hold::Batch } else { Hold::Nobody })
                .await?;
        if at_once && Tally::of(&fates).invited > looked_up {
            // Somebody was deleted since seats were taken for the others: there may be one for this row, too.
            return Err(Error::Stale.into());
        }
        // Who would be refused for lack of a seat is told as if the rows before had taken theirs.
        let seats = match (at_once, now.seats_free) {
            (true, _) => now.seats_held,
            (false, Some(free)) if !begun.options.all_or_nothing() && !begun.options.require_seats => {
                (free - now.rows_invited).max(0)
            }
            (false, _) => i32::MAX,
        };
        give_seats(&mut change, &mut fates, seats, begun.options.send_welcome_email, at_once).await?;
        let tally = Tally::of(&fates);
        let members = if at_once {
            lock_groups(&mut change, groups(&fates)).await?;
            write::edit(&mut change, &standing, &fates).await?;
            write::invite(&mut change, (standing.member_id, begun.options.send_welcome_email), &fates).await?
        } else {
            Vec::new()
        };
        let next_row = begun.batch.last().map_or(begun.next_row, |last| to_i32(last.row) + 1);
        let written = Written { next_row, tally };
        write_rows(&mut change, import, &begun.batch, fates, members).await?;
        go_on(&mut change, import, (&begun.batch, begun.next_row, at_once), &written).await?;
        outbox::advance(change.conn(), self.job).await?;
        change.commit().await?;
        count(&tally, at_once);
        Ok(written)
    }
}

/// What the importer may do now, who must still be allowed to import, and to give everybody what they wanted to give.
pub(super) async fn standing(change: &mut Change, importer: MemberId, options: &Options) -> Result<Standing, Halt> {
    let standing = change.standing_of(importer).await?;
    let standing = standing.filter(|standing| standing.may(Action::Import, Target::Account).is_ok());
    let standing = standing.ok_or(Halt::Failed(Failure::NotPermitted))?;
    match options.check(change, &standing).await {
        Err(Error::Refused(list)) if list.iter().any(|refused| refused.code == Code::NotPermitted) => {
            Err(Halt::Failed(Failure::NotPermitted))
        }
        Err(Error::Refused(_)) => Err(Halt::Failed(Failure::DefaultsGone)),
        Err(other) => Err(other.into()),
        Ok(()) => Ok(standing),
    }
}

fn count(tally: &Tally, at_once: bool) {
    if at_once {
        let of = |count: i32| usize::try_from(count).unwrap_or_default();
        metrics::import_rows(of(tally.invited), of(tally.rejected));
    }
}

fn to_i32(row: u32) -> i32 {
    i32::try_from(row).expect("bounded by the limit on rows")
}

/// Seats go to the first ones who may get a mail, if there are to be any. Mails are counted only for those who get a seat, and only
/// where they are sent.
pub(super) async fn give_seats(
    change: &mut Change,
    fates: &mut [Fate],
    seats: i32,
    send: bool,
    counted: bool,
) -> Result<()> {
    let mut left = seats;
    let limits = if send { invitation::mail_limits(change, &addresses(fates)).await? } else { Vec::new() };
    let mut limits = limits.into_iter();
    for fate in &mut *fates {
        let Fate::Invited(item, _) = fate else { continue };
        let limit = limits.next().unwrap_or(Ok(()));
        let fault = if left == 0 {
            Some(RowFault::new(None, None, FieldFault::NoSeat))
        } else if let Err(refused) = limit {
            let retry_at = if let Detail::RetryAt(at) = refused.detail { Some(at) } else { None };
            let fault = RowFault::new(Some(Column::Email), Some(item.email.as_str()), FieldFault::MailLimit);
            Some(fault.until(retry_at))
        } else {
            left -= 1;
            None
        };
        if let Some(fault) = fault {
            *fate = Fate::Rejected(vec![fault]);
        }
    }
    if send && counted {
        invitation::count_mails(change, &addresses(fates)).await?;
    }
    Ok(())
}

/// Of those who are to be invited.
fn addresses(fates: &[Fate]) -> Vec<&EmailAddress> {
    invited(fates).map(|item| &item.email).collect()
}

/// Groups that a batch puts people into.
fn groups(fates: &[Fate]) -> Vec<GroupId> {
    let of_new = invited(fates).flat_map(|item| item.place.groups.iter().copied());
    of_new.chain(edits(fates).flat_map(|edit| edit.add_groups.iter().copied())).collect()
}

/// Locks groups, after the members, so that none is archived meanwhile.
///
/// # Errors
/// [`Error::Stale`] when one is by now.
pub(super) async fn lock_groups(change: &mut Change, mut groups: Vec<GroupId>) -> Result<()> {
    groups.sort_unstable();
    groups.dedup();
    match check_groups(change, &groups).await {
        Err(Error::Refused(_)) => Err(Error::Stale),
        other => other,
    }
}

/// Stands for the address of a row that no member stands for.
pub(crate) fn address_digest(db: &Db, email: &str) -> Vec<u8> {
    db.key.digest("member_import_row.email", email).to_vec()
}

async fn write_rows(
    change: &mut Change,
    import: Uuid,
    batch: &[Judged],
    fates: Vec<Fate>,
    members: Vec<MemberId>,
) -> Result<()> {
    let account = change.account();
    let rows: Vec<i32> = batch.iter().map(|judged| to_i32(judged.row)).collect();
    let mut members = members.into_iter();
    let (mut outcomes, mut ids, mut faults, mut changes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut digests = Vec::with_capacity(batch.len());
    for (judged, fate) in batch.iter().zip(fates) {
        outcomes.push(fate.outcome().as_str().to_owned());
        let (id, list, edited) = match fate {
            Fate::Invited(..) => (members.next(), Vec::new(), Vec::new()),
            Fate::Updated(edit) => (Some(edit.member_id), Vec::new(), edit.changed),
            Fate::Unchanged(member) => (Some(member), Vec::new(), Vec::new()),
            Fate::Rejected(list) => (None, list, Vec::new()),
        };
        ids.push(id.map(|member| member.0));
        let stranger = judged.checked.email.as_ref().filter(|_| id.is_none());
        digests.push(stranger.map(|email| address_digest(change.db(), email.as_str())));
        faults.push(serde_json::to_value(list).expect("plain data"));
        let names: Vec<&str> = edited.iter().map(|column| column.name()).collect();
        changes.push(names.join(" "));
    }
    sqlx::query!(
        "INSERT INTO member_import_row (account_id, import_id, row_no, outcome, member_id, faults, changes, email_digest)
         SELECT $1, $2, u.row_no, u.outcome, u.member_id, u.faults, string_to_array(u.changes, ' '), u.digest
         FROM unnest($3::int[], $4::text[], $5::uuid[], $6::jsonb[], $7::text[], $8::bytea[])
              u(row_no, outcome, member_id, faults, changes, digest)",
        account.0,
        import,
        &rows,
        &outcomes,
        &ids as &[Option<Uuid>],
        &faults as &[Value],
        &changes,
        &digests as &[Option<Vec<u8>>],
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Stores where to go on, and lowers the seats held by those that have their members now.
async fn go_on(
    change: &mut Change,
    import: Uuid,
    (batch, next_row, at_once): (&[Judged], i32, bool),
    written: &Written,
) -> Result<()> {
    let account = change.account();
    let done = i32::try_from(batch.len()).expect("a batch is small");
    let offset = batch.last().map_or(0, |last| last.end);
    let tally = &written.tally;
    let updated = sqlx::query!(
        "UPDATE member_import
         SET next_row = $3, next_offset = $4, rows_done = rows_done + $5, rows_invited = rows_invited + $6,
             rows_updated = rows_updated + $7, rows_unchanged = rows_unchanged + $8, rows_rejected = rows_rejected + $9,
             rows_without_seat = rows_without_seat + $10, seats_held = seats_held - CASE WHEN $11 THEN $6 ELSE 0 END
         WHERE account_id = $1 AND import_id = $2 AND state = 'RUNNING' AND next_row = $12",
        account.0,
        import,
        written.next_row,
        i64::try_from(offset).expect("a place in a file"),
        done,
        tally.invited,
        tally.updated,
        tally.unchanged,
        tally.rejected,
        tally.without_seat,
        at_once,
        next_row,
    )
    .execute(change.conn())
    .await?;
    if updated.rows_affected() == 1 { Ok(()) } else { Err(Error::Stale) }
}

/// The ids of roles after an edit.
pub(super) fn roles_after(before: &[RoleId], added: &[RoleId]) -> Vec<RoleId> {
    before.iter().chain(added).copied().collect()
}
