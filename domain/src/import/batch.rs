//! One transaction of an import: some rows become members or are rejected, and the import stands behind them.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::Failure;
use super::column::Column;
use super::list::Outcome;
use super::row::{ImportRow, RowFault};
use super::run::{Halt, Run};
use crate::actor::{Action, Assignment, Author, Standing, Target, of_assignments};
use crate::change::{Change, Kind};
use crate::error::{Code, Detail, Error, Result};
use crate::id::{MemberId, RoleId};
use crate::infra::email_address::EmailAddress;
use crate::infra::metrics;
use crate::invitation::{self, Lapsed, NewInvitation};
use crate::member::{Place, Validity};
use crate::permission::SystemRole;
use crate::profile::FieldFault;

/// A row that was checked by itself.
pub(super) struct Judged {
    /// The row as a spreadsheet shows it.
    pub(super) row: u32,
    /// Byte at which the next row begins.
    pub(super) end: u64,
    pub(super) verdict: Result<ImportRow, Vec<RowFault>>,
}

/// What a batch came to.
pub(super) struct Written {
    pub(super) next_row: i32,
    pub(super) invited: i32,
}

/// What becomes of a row.
enum Fate {
    Invited(Box<NewInvitation>, Option<Lapsed>),
    Rejected(Vec<RowFault>),
}

impl Run {
    /// Writes the batch that was read. The seats were taken before; the pool is locked only where an overdue invitation is in the
    /// way and lapses first.
    pub(super) async fn commit_batch(&mut self) -> Result<Written, Halt> {
        let (account, import, author) = (self.account.0, self.import.0, Author::Member(self.begun().created_by));
        let mut change = self.change(Kind::Asked, author).await?;
        let begun = self.begun();
        let seats = sqlx::query_scalar!(
            "SELECT seats_held FROM member_import
             WHERE account_id = $1 AND import_id = $2 AND state = 'RUNNING' AND next_row = $3 FOR NO KEY UPDATE",
            account,
            import,
            begun.next_row,
        )
        .fetch_optional(change.conn())
        .await?
        .ok_or(Halt::Superseded)?;
        let standing = change.standing_of(begun.created_by).await?;
        let standing = standing.filter(|standing| standing.may(Action::Import, Target::Account).is_ok());
        let standing = standing.ok_or(Halt::Failed(Failure::NotPermitted))?;
        let mut fates = decide(&mut change, &standing, &begun.batch).await?;
        give_seats(&mut change, &mut fates, seats, begun.send).await?;
        let members = invite(&mut change, (begun.created_by, begun.send), &fates).await?;
        let written = Written {
            next_row: begun.batch.last().map_or(begun.next_row, |last| to_i32(last.row) + 1),
            invited: i32::try_from(members.len()).expect("a batch is small"),
        };
        write_rows(&mut change, import, &begun.batch, fates, members).await?;
        go_on(&mut change, import, &begun.batch, begun.next_row, &written).await?;
        change.commit().await?;
        let invited = usize::try_from(written.invited).expect("counted above");
        metrics::import_rows(invited, begun.batch.len() - invited);
        Ok(written)
    }
}

fn to_i32(row: u32) -> i32 {
    i32::try_from(row).expect("bounded by the limit on rows")
}

/// Looks at what depends on the account: roles, groups, and who is there already. All faults of a row are told.
async fn decide(change: &mut Change, standing: &Standing, batch: &[Judged]) -> Result<Vec<Fate>> {
    let good = || batch.iter().filter_map(|judged| judged.verdict.as_ref().ok());
    let emails: Vec<String> = good().map(|row| row.email.as_str().to_owned()).collect();
    let taken = invitation::address_states(change, &emails).await?;
    let roles = Roles::read(change, standing, good()).await?;
    let fate = |judged: &Judged| {
        let row = match &judged.verdict {
            Ok(row) => row,
            Err(faults) => return Fate::Rejected(faults.clone()),
        };
        let (granted, mut faults) = roles.of(row);
        faults.extend(row.groups.iter().map(|group| at(Column::Groups, group, FieldFault::UnknownGroup)));
        let lapsed = match taken.get(row.email.as_str()) {
            None => None,
            Some(Ok(lapsed)) => Some(*lapsed),
            Some(Err(code)) => {
                faults.insert(0, at(Column::Email, row.email.as_str(), address_fault(*code)));
                None
            }
        };
        if !faults.is_empty() {
            return Fate::Rejected(faults);
        }
        let (email, profile) = (row.email.clone(), row.profile.clone());
        Fate::Invited(
            Box::new(NewInvitation {
                email,
                profile,
                message: None,
                place: Place::with_roles(granted),
                validity: Validity::default(),
            }),
            lapsed,
        )
    };
    Ok(batch.iter().map(fate).collect())
}

fn at(column: Column, value: &str, code: FieldFault) -> RowFault {
    RowFault::new(Some(column), Some(value), code)
}

fn address_fault(code: Code) -> FieldFault {
    match code {
        Code::AlreadyMember => FieldFault::AlreadyMember,
        Code::AlreadyInvited => FieldFault::AlreadyInvited,
        _ => FieldFault::NotImportable,
    }
}

/// The roles that rows name, and whether the importer may give them.
struct Roles {
    by_name: HashMap<String, (RoleId, bool)>,
}

impl Roles {
    async fn read<'r>(
        change: &mut Change,
        standing: &Standing,
        rows: impl Iterator<Item = &'r ImportRow>,
    ) -> Result<Self> {
        let mut by_name: HashMap<String, (RoleId, bool)> = HashMap::new();
        let mut names: Vec<&str> = rows.flat_map(|row| row.roles.iter().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Ok(Self { by_name });
        }
        let account = change.account();
        let roles = sqlx::query!(
            r#"SELECT role_id AS "role_id: RoleId", name FROM role WHERE account_id = $1 AND archived_at IS NULL ORDER BY role_id"#,
            account.0
        )
        .fetch_all(change.conn())
        .await?;
        for name in names {
            let folded = name.to_lowercase();
            let exact = roles.iter().find(|role| role.name == name);
            let Some(role) = exact.or_else(|| roles.iter().find(|role| role.name.to_lowercase() == folded)) else {
                continue;
            };
            let given = of_assignments(change.conn(), account, &[Assignment::wide(role.role_id)]).await?;
            let may = standing.may(Action::Import, Target::Grant(&given)).is_ok();
            by_name.insert(name.to_owned(), (role.role_id, may));
        }
        Ok(Self { by_name })
    }

    /// The roles of a row, Standard if it names none, and what is wrong with them.
    fn of(&self, row: &ImportRow) -> (Vec<RoleId>, Vec<RowFault>) {
        let (mut roles, mut faults) = (Vec::new(), Vec::new());
        for name in &row.roles {
            match self.by_name.get(name) {
                None => faults.push(at(Column::Roles, name, FieldFault::UnknownRole)),
                Some((_, false)) => faults.push(at(Column::Roles, name, FieldFault::RoleNotPermitted)),
                Some((role, true)) => roles.push(*role),
            }
        }
        roles.sort_unstable();
        roles.dedup();
        if row.roles.is_empty() {
            roles.push(SystemRole::Standard.id());
        }
        (roles, faults)
    }
}

/// Seats go to the first ones who may get a mail, if there are to be any. Mails are counted only for those who get a seat.
async fn give_seats(change: &mut Change, fates: &mut [Fate], seats: i32, send: bool) -> Result<()> {
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
            Some(at(Column::Email, item.email.as_str(), FieldFault::MailLimit).until(retry_at))
        } else {
            left -= 1;
            None
        };
        if let Some(fault) = fault {
            *fate = Fate::Rejected(vec![fault]);
        }
    }
    if send {
        invitation::count_mails(change, &addresses(fates)).await?;
    }
    Ok(())
}

/// Of those who are to be invited.
fn addresses(fates: &[Fate]) -> Vec<&EmailAddress> {
    let invited = fates.iter().filter_map(|fate| if let Fate::Invited(item, _) = fate { Some(item) } else { None });
    invited.map(|item| &item.email).collect()
}

/// Writes the members, and returns them in the order of their rows.
async fn invite(change: &mut Change, (importer, send): (MemberId, bool), fates: &[Fate]) -> Result<Vec<MemberId>> {
    let mut items = Vec::new();
    let mut replaced = Vec::new();
    for fate in fates {
        if let Fate::Invited(item, lapsed) = fate {
            items.push(NewInvitation::clone(item));
            replaced.extend(*lapsed);
        }
    }
    invitation::replace(change, &replaced).await?;
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let ids = invitation::create(change, Some(importer), &items, send).await?;
    Ok(ids.into_iter().map(|(_, member)| member).collect())
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
    let (mut outcomes, mut ids, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for fate in fates {
        let (outcome, id, list) = match fate {
            Fate::Invited(..) => (Outcome::Invited, members.next().map(|member| member.0), Vec::new()),
            Fate::Rejected(list) => (Outcome::Rejected, None, list),
        };
        outcomes.push(outcome.as_str().to_owned());
        ids.push(id);
        faults.push(serde_json::to_value(list).expect("plain data"));
    }
    sqlx::query!(
        "INSERT INTO member_import_row (account_id, import_id, row_no, outcome, member_id, faults)
         SELECT $1, $2, * FROM unnest($3::int[], $4::text[], $5::uuid[], $6::jsonb[])",
        account.0,
        import,
        &rows,
        &outcomes,
        &ids as &[Option<Uuid>],
        &faults as &[Value],
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Stores where to go on, and lowers the seats held by those that have their members now.
async fn go_on(change: &mut Change, import: Uuid, batch: &[Judged], next_row: i32, written: &Written) -> Result<()> {
    let account = change.account();
    let done = i32::try_from(batch.len()).expect("a batch is small");
    let offset = batch.last().map_or(0, |last| last.end);
    let updated = sqlx::query!(
        "UPDATE member_import
         SET next_row = $3, next_offset = $4, rows_done = rows_done + $5, rows_invited = rows_invited + $6,
             rows_rejected = rows_rejected + $5 - $6, seats_held = seats_held - $6
         WHERE account_id = $1 AND import_id = $2 AND state = 'RUNNING' AND next_row = $7",
        account.0,
        import,
        written.next_row,
        i64::try_from(offset).expect("a place in a file"),
        done,
        written.invited,
        next_row,
    )
    .execute(change.conn())
    .await?;
    if updated.rows_affected() == 1 { Ok(()) } else { Err(Error::Stale) }
}
