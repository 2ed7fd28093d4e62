//! Deleting members for good: what names them goes, what happened stays, under ids that lead to nobody.

use std::collections::BTreeMap;

use serde_json::json;
use uuid::Uuid;

use super::status::Locked;
use crate::across;
use crate::change::Change;
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::export;
use crate::id::{ExportId, InvitationId, MemberId, UploadId, UserId};
use crate::import;
use crate::infra::clock::Timestamp;
use crate::invitation;
use crate::job::{JobKind, NewJob};
use crate::session;

/// Locks the identities of members, which come before everything else in the order of locks: with the last membership they go.
pub(super) async fn lock_people(change: &mut Change, members: &[MemberId]) -> Result<Vec<UserId>> {
    let account = change.account();
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    Ok(sqlx::query_scalar!(
        r#"SELECT user_id AS "user_id: UserId" FROM app_user
           WHERE user_id IN (SELECT m.user_id FROM member m WHERE m.account_id = $1 AND m.member_id = ANY($2))
           ORDER BY user_id FOR UPDATE"#,
        account.0,
        &ids,
    )
    .fetch_all(change.conn())
    .await?)
}

/// Deletes locked members with all that names them. The pool and their identities must be locked as well.
pub(super) async fn erase(
    change: &mut Change,
    members: &[MemberId],
    locked: &BTreeMap<MemberId, Locked>,
    people: &[UserId],
) -> Result<()> {
    let erased: Vec<&Locked> = members.iter().filter_map(|member| locked.get(member)).collect();
    let users: Vec<UserId> = erased.iter().filter_map(|locked| locked.user_id).collect();
    if users.iter().any(|user| !people.contains(user)) {
        // They accepted an invitation since their identities were locked.
        return Err(Error::Stale);
    }
    let emails: Vec<String> = erased.iter().map(|locked| locked.email.clone()).collect();
    let given_up = given_up(change, &users).await?;
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let ended = invitations(change, &ids, &emails, &given_up).await?;
    let emails: Vec<String> = emails.into_iter().chain(given_up.into_iter().map(|former| former.email)).collect();
    let mut subjects = ids.clone();
    subjects.extend(ended.iter().map(|(_, former)| former.0));
    events(change, &ids, &subjects).await?;
    files(change, &ids, &subjects, &emails).await?;
    exports(change, &ids, &subjects).await?;
    session::end_of_members(change, members).await?;
    keys_and_jobs(change, &ids, &ended).await?;
    invitation::remove_members(change, members).await?;
    across::erase_people(change.conn(), &users).await?;
    change.rights_changed();
    for member in members {
        let (Some(locked), open) = (locked.get(member), ended.iter().find(|(_, former)| former == member)) else {
            continue;
        };
        let detail = json!({ "before": locked.status, "invitation": open.map(|(invitation, _)| invitation) });
        change.record(NewEvent::new(EventKind::MemberDeleted).subject(member.0).detail(detail));
    }
    Ok(())
}

/// An address that somebody had until they were given another one.
struct Former {
    email: String,
    until: Timestamp,
}

/// The addresses that people have given up, as long as that is known. They may be others' since then.
async fn given_up(change: &mut Change, users: &[UserId]) -> Result<Vec<Former>> {
    let ids: Vec<Uuid> = users.iter().map(|user| user.0).collect();
    Ok(sqlx::query_as!(
        Former,
        r#"SELECT old_email AS "email!", changed_at AS "until!: Timestamp" FROM email_change
           WHERE user_id = ANY($1) AND changed_at IS NOT NULL
           UNION
           SELECT new_email, coalesce(changed_at, created_at) FROM email_change WHERE user_id = ANY($1) AND state = 'REVERTED'"#,
        &ids,
    )
    .fetch_all(change.conn())
    .await?)
}

/// Ends what is open, and leaves of every invitation to them that there was one. An earlier one to the same address, or to one that
/// was theirs then, had invited somebody of another id, by which their events are found.
async fn invitations(
    change: &mut Change,
    ids: &[Uuid],
    emails: &[String],
    given_up: &[Former],
) -> Result<Vec<(InvitationId, MemberId)>> {
    let (account, now) = (change.account(), change.now());
    let former: Vec<String> = given_up.iter().map(|former| former.email.clone()).collect();
    let until: Vec<Timestamp> = given_up.iter().map(|former| former.until).collect();
    let rows = sqlx::query!(
        r#"UPDATE invitation
           SET state = CASE WHEN finished_at IS NULL THEN 'REVOKED' ELSE state END, finished_at = coalesce(finished_at, $4),
               former_member_id = coalesce(former_member_id, member_id), member_id = NULL,
               email = encode(sha256(convert_to(invitation_id::text, 'UTF8')), 'hex'), first_name = NULL, last_name = NULL,
               message = NULL, delivery_reply = NULL, token_hash = NULL, token_key_version = NULL
           WHERE account_id = $1 AND (member_id = ANY($2) OR former_member_id = ANY($2) OR (member_id IS NULL AND email = ANY($3))
             OR (member_id IS NULL AND EXISTS (SELECT FROM unnest($5::text[], $6::timestamptz[]) f(email, until)
                                               WHERE f.email = invitation.email AND invitation.created_at <= f.until)))
           RETURNING invitation_id AS "invitation_id: InvitationId", former_member_id AS "former!: MemberId""#,
        account.0,
        ids,
        emails,
        now,
        &former,
        &until as &[Timestamp],
    )
    .fetch_all(change.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.invitation_id, row.former)).collect())
}

/// The personal parts of events about them, and their network addresses in those about others.
async fn events(change: &mut Change, ids: &[Uuid], subjects: &[Uuid]) -> Result<()> {
    let account = change.account();
    sqlx::query!(
        "DELETE FROM event_personal WHERE account_id = $1
         AND (subject_id = ANY($2) OR (actor_id = ANY($3) AND body - 'networkAddress' = '{}'))",
        account.0,
        subjects,
        ids,
    )
    .execute(change.conn())
    .await?;
    sqlx::query!(
        "UPDATE event_personal SET body = body - 'networkAddress', address_erased = true
         WHERE account_id = $1 AND actor_id = ANY($2) AND body ? 'networkAddress'",
        account.0,
        ids,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// Files that they uploaded or that have rows of them end now; a job deletes them, with what is quoted of them.
async fn files(change: &mut Change, ids: &[Uuid], subjects: &[Uuid], emails: &[String]) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let digests: Vec<Vec<u8>> = emails.iter().map(|email| import::address_digest(change.db(), email)).collect();
    let uploads = sqlx::query_scalar!(
        r#"UPDATE upload u SET expires_at = $5
           WHERE u.account_id = $1 AND (u.created_by = ANY($2) OR u.upload_id IN (
               SELECT i.upload_id FROM member_import i WHERE i.account_id = $1 AND i.import_id IN (
                   -- Each by an index of its own, so that nobody waits for it, however many rows there are.
                   SELECT r.import_id FROM member_import_row r WHERE r.account_id = $1 AND r.member_id = ANY($3)
                   UNION
                   SELECT r.import_id FROM member_import_row r WHERE r.account_id = $1 AND r.email_digest = ANY($4)
                   UNION
                   -- Of a row whose address cannot be read, what is quoted of it.
                   SELECT r.import_id FROM member_import_row r
                   WHERE r.account_id = $1 AND r.outcome = 'REJECTED' AND r.email_digest IS NULL
                     AND quoted_addresses(r.faults) && $6)))
           RETURNING u.upload_id AS "upload_id: UploadId""#,
        account.0,
        ids,
        subjects,
        &digests,
        now,
        emails,
    )
    .fetch_all(change.conn())
    .await?;
    for upload in uploads {
        change.enqueue(NewJob {
            account_id: account.0,
            kind: JobKind::EraseUpload,
            payload: json!({ "uploadId": upload }),
            dedupe_key: upload.to_string(),
        });
    }
    Ok(())
}

/// Files that were made for them or that name them end now, and a job deletes them. One that is being written for somebody else is
/// written anew.
async fn exports(change: &mut Change, ids: &[Uuid], subjects: &[Uuid]) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let ended = sqlx::query!(
        r#"UPDATE export e
           SET run = NULL, expires_at = CASE WHEN e.finished_at IS NULL AND e.requested_by <> ALL($2) THEN e.expires_at ELSE $4 END
           WHERE e.account_id = $1 AND (e.requested_by = ANY($2) OR EXISTS (
               SELECT FROM export_member n
               WHERE n.account_id = e.account_id AND n.export_id = e.export_id AND n.member_id = ANY($3)))
           RETURNING e.export_id AS "export_id: ExportId", e.expires_at <= $4 AS "over!""#,
        account.0,
        ids,
        subjects,
        now,
    )
    .fetch_all(change.conn())
    .await?;
    for export in ended.iter().filter(|export| export.over) {
        change.enqueue(NewJob {
            account_id: account.0,
            kind: JobKind::EraseExport,
            payload: serde_json::to_value(export::Payload { export_id: export.export_id }).expect("plain data"),
            dedupe_key: export.export_id.to_string(),
        });
    }
    Ok(())
}

/// What they asked for under keys of their own, and dead jobs that were about them.
async fn keys_and_jobs(change: &mut Change, ids: &[Uuid], ended: &[(InvitationId, MemberId)]) -> Result<()> {
    let account = change.account();
    sqlx::query!("DELETE FROM idempotency_key WHERE account_id = $1 AND member_id = ANY($2)", account.0, ids)
        .execute(change.conn())
        .await?;
    let invitations: Vec<String> = ended.iter().map(|(invitation, _)| invitation.to_string()).collect();
    let members: Vec<String> = ids.iter().map(|id| MemberId(*id).to_string()).collect();
    sqlx::query!(
        "DELETE FROM outbox WHERE account_id = $1 AND dead_at IS NOT NULL
         AND (payload->>'invitationId' = ANY($2) OR payload->>'memberId' = ANY($3))",
        account.0,
        &invitations,
        &members,
    )
    .execute(change.conn())
    .await?;
    Ok(())
}
