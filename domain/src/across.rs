//! Every statement that reads across accounts, in one place: what is due in any account, and a person's memberships.
//! They lock nothing; whoever acts on what they list does so per account.

use sqlx::{PgConnection, PgPool};

use crate::id::{AccountId, ExportId, ImportId, MemberId, SessionId, UploadId, UserId};
use crate::infra::clock::{Date, Timestamp};
use crate::invitation;

/// Accounts that have events after their last seal, in the order of ids, from one on.
pub async fn accounts_with_unsealed_events(
    pool: &PgPool,
    after: Option<AccountId>,
    limit: i64,
) -> sqlx::Result<Vec<AccountId>> {
    let after = after.map_or(uuid::Uuid::nil(), |account| account.0);
    sqlx::query_scalar!(
        r#"SELECT f.account_id AS "account_id: AccountId" FROM account_feed f
           WHERE f.account_id > $1 AND f.next_seq - 1 > coalesce(
               (SELECT s.last_seq FROM event_seal s WHERE s.account_id = f.account_id ORDER BY s.last_seq DESC LIMIT 1), 0)
           ORDER BY f.account_id LIMIT $2"#,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Accounts whose oldest seal ends with an event of before a time, in the order of ids, from one on.
pub async fn accounts_with_events_before(
    pool: &PgPool,
    before: Timestamp,
    after: Option<AccountId>,
    limit: i64,
) -> sqlx::Result<Vec<AccountId>> {
    let after = after.map_or(uuid::Uuid::nil(), |account| account.0);
    sqlx::query_scalar!(
        r#"SELECT f.account_id AS "account_id: AccountId" FROM account_feed f
           CROSS JOIN LATERAL (SELECT s.last_seq FROM event_seal s WHERE s.account_id = f.account_id AND s.last_seq >= f.oldest_seq
                               ORDER BY s.last_seq LIMIT 1) s
           JOIN event e ON e.account_id = f.account_id AND e.seq = s.last_seq
           WHERE f.account_id > $2 AND e.occurred_at < $1 ORDER BY f.account_id LIMIT $3"#,
        before,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Whether there is any account.
pub async fn has_accounts(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM account) AS "any!""#).fetch_one(conn).await
}

/// The account that a person, named by their address, has owned for longest.
pub async fn oldest_account_of(conn: &mut PgConnection, owner: &str) -> sqlx::Result<Option<AccountId>> {
    sqlx::query_scalar!(
        r#"SELECT a.account_id AS "account_id: AccountId"
           FROM app_user u JOIN member m USING (user_id) JOIN account_owner o USING (account_id, member_id) JOIN account a USING (account_id)
           WHERE u.email = $1 ORDER BY a.created_at, a.account_id LIMIT 1"#,
        owner,
    )
    .fetch_optional(conn)
    .await
}

/// An upload whose time is over.
#[derive(Clone, Debug)]
pub struct ExpiredUpload {
    /// Its account.
    pub account_id: AccountId,
    /// Its id.
    pub upload_id: UploadId,
    /// Its file, if one was put.
    pub object_key: Option<String>,
}

/// Some of the uploads that are over at `now`, but for those of imports that still run.
pub async fn expired_uploads(pool: &PgPool, now: Timestamp) -> sqlx::Result<Vec<ExpiredUpload>> {
    sqlx::query_as!(
        ExpiredUpload,
        r#"SELECT u.account_id AS "account_id: AccountId", u.upload_id AS "upload_id: UploadId", u.object_key
           FROM upload u
           WHERE u.expires_at <= $1 AND NOT EXISTS (
               SELECT FROM member_import i
               WHERE i.account_id = u.account_id AND i.upload_id = u.upload_id AND i.finished_at IS NULL)
           ORDER BY u.expires_at LIMIT 200"#,
        now,
    )
    .fetch_all(pool)
    .await
}

/// The names of the files of some uploads.
pub async fn upload_files(pool: &PgPool, uploads: &[(AccountId, UploadId)]) -> sqlx::Result<Vec<String>> {
    let (accounts, ids): (Vec<_>, Vec<_>) = uploads.iter().map(|(account, upload)| (account.0, upload.0)).unzip();
    sqlx::query_scalar!(
        r#"SELECT u.object_key AS "object_key!"
           FROM upload u JOIN unnest($1::uuid[], $2::uuid[]) k(account_id, upload_id) USING (account_id, upload_id)
           WHERE u.object_key IS NOT NULL"#,
        &accounts,
        &ids,
    )
    .fetch_all(pool)
    .await
}

/// Some of the exports that are over at `now`.
pub async fn expired_exports(pool: &PgPool, now: Timestamp) -> sqlx::Result<Vec<(AccountId, ExportId)>> {
    let rows = sqlx::query!(
        r#"SELECT account_id AS "account_id: AccountId", export_id AS "export_id: ExportId" FROM export
           WHERE expires_at <= $1 ORDER BY expires_at LIMIT 200"#,
        now,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.account_id, row.export_id)).collect())
}

/// The names of the files of some exports.
pub async fn export_files(pool: &PgPool, exports: &[(AccountId, ExportId)]) -> sqlx::Result<Vec<String>> {
    let (accounts, ids): (Vec<_>, Vec<_>) = exports.iter().map(|(account, export)| (account.0, export.0)).unzip();
    sqlx::query_scalar!(
        r#"SELECT e.file_key AS "file_key!"
           FROM export e JOIN unnest($1::uuid[], $2::uuid[]) k(account_id, export_id) USING (account_id, export_id)
           WHERE e.file_key IS NOT NULL"#,
        &accounts,
        &ids,
    )
    .fetch_all(pool)
    .await
}

/// Some of the imports that have not ended and whose jobs will not run again.
pub async fn stranded_imports(pool: &PgPool) -> sqlx::Result<Vec<(AccountId, ImportId)>> {
    let rows = sqlx::query!(
        r#"SELECT i.account_id AS "account_id: AccountId", i.import_id AS "import_id: ImportId" FROM member_import i
           WHERE i.finished_at IS NULL AND NOT EXISTS (
               SELECT FROM outbox o
               WHERE o.account_id = i.account_id AND o.kind = 'import.members' AND o.wake_at IS NOT NULL
                 AND o.dedupe_key = 'imp_' || replace(i.import_id::text, '-', ''))
           ORDER BY i.created_at LIMIT 200"#,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.account_id, row.import_id)).collect())
}

/// A person's place in one of their accounts.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The account.
    pub account_id: AccountId,
    /// Its name, live.
    pub account_name: String,
    /// The place.
    pub member_id: MemberId,
    /// Its status.
    pub status: String,
    /// The day on which it begins, if that is still ahead at the time that was asked for.
    pub valid_from: Option<Date>,
    /// The day after which it was over, if it was at that time.
    pub valid_until: Option<Date>,
}

impl Membership {
    /// Whether they may enter.
    pub fn is_open(&self) -> bool {
        self.status == "ACTIVE" && self.valid_from.is_none() && self.valid_until.is_none()
    }
}

/// All accounts a person belongs to, in the order of their ids, which is the order they are locked in.
pub async fn memberships(conn: &mut PgConnection, user: UserId, now: Timestamp) -> sqlx::Result<Vec<Membership>> {
    sqlx::query_as!(
        Membership,
        r#"SELECT m.account_id AS "account_id: AccountId", a.name AS account_name, m.member_id AS "member_id: MemberId", m.status,
                  CASE WHEN m.valid_from > ($2::timestamptz AT TIME ZONE a.time_zone)::date THEN m.valid_from END AS valid_from,
                  CASE WHEN m.valid_until < ($2::timestamptz AT TIME ZONE a.time_zone)::date THEN m.valid_until END AS valid_until
           FROM member m JOIN account a USING (account_id) WHERE m.user_id = $1 ORDER BY m.account_id"#,
        user.0,
        now,
    )
    .fetch_all(conn)
    .await
}

/// How many accounts a person belongs to.
pub(crate) async fn accounts_of(conn: &mut PgConnection, user: UserId) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM member WHERE user_id = $1"#, user.0).fetch_one(conn).await
}

/// The owner of an account.
pub async fn owner_of(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<MemberId> {
    sqlx::query_scalar!(
        r#"SELECT member_id AS "member_id: MemberId" FROM account_owner WHERE account_id = $1"#,
        account.0
    )
    .fetch_one(conn)
    .await
}

/// Erases the identities of people who are in no account any more: address, password, resets, and sign-ups under their address. The
/// caller has them under lock, so that nobody of them joins an account meanwhile.
pub(crate) async fn erase_people(conn: &mut PgConnection, users: &[UserId]) -> sqlx::Result<()> {
    let ids: Vec<uuid::Uuid> = users.iter().map(|user| user.0).collect();
    sqlx::query!(
        "WITH gone AS (
             DELETE FROM app_user u WHERE u.user_id = ANY($1) AND NOT EXISTS (SELECT FROM member m WHERE m.user_id = u.user_id)
             RETURNING u.email)
         DELETE FROM sign_up s USING gone WHERE s.email = gone.email",
        &ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends all sessions of a person, everywhere but `except`. Returns the accounts that had any.
pub async fn end_sessions(
    conn: &mut PgConnection,
    user: UserId,
    except: Option<SessionId>,
) -> sqlx::Result<Vec<AccountId>> {
    let mut accounts = sqlx::query_scalar!(
        r#"DELETE FROM session WHERE user_id = $1 AND session_id IS DISTINCT FROM $2 RETURNING account_id AS "account_id: AccountId""#,
        user.0,
        except.map(|session| session.0),
    )
    .fetch_all(conn)
    .await?;
    accounts.sort_unstable();
    accounts.dedup();
    Ok(accounts)
}

/// Accounts that have invitations to lapse, in the order of ids, from one on.
pub async fn accounts_with_overdue_invitations(
    pool: &PgPool,
    now: Timestamp,
    after: Option<AccountId>,
    limit: i64,
) -> sqlx::Result<Vec<AccountId>> {
    let after = after.map_or(uuid::Uuid::nil(), |account| account.0);
    sqlx::query_scalar!(
        r#"SELECT account_id AS "account_id!: AccountId" FROM (
               SELECT account_id FROM invitation WHERE state = 'PENDING' AND expires_at <= $1
               UNION
               SELECT account_id FROM invitation WHERE state = 'PENDING' AND sent_at IS NULL AND queued_at <= $2) due
           WHERE account_id > $3 ORDER BY account_id LIMIT $4"#,
        now,
        now - invitation::UNDELIVERABLE_AFTER,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Accounts that may have members whose time ends within nine days, or is over, and who were not told or taken out; in the order of ids,
/// from one on. Their own dates decide.
pub async fn accounts_with_ending_members(
    pool: &PgPool,
    now: Timestamp,
    after: Option<AccountId>,
    limit: i64,
) -> sqlx::Result<Vec<AccountId>> {
    let after = after.map_or(uuid::Uuid::nil(), |account| account.0);
    let today = Date::at(now, "UTC");
    sqlx::query_scalar!(
        r#"SELECT DISTINCT account_id AS "account_id: AccountId" FROM member
           WHERE valid_until IS NOT NULL AND status IN ('ACTIVE', 'SUSPENDED') AND account_id > $1
             AND (valid_until <= $2 OR (valid_until <= $3 AND status = 'ACTIVE' AND validity_notice_for IS DISTINCT FROM valid_until))
           ORDER BY 1 LIMIT $4"#,
        after,
        today,
        today.plus_days(9),
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Deletes idempotency keys of before a time, at most `limit`; returns how many.
pub async fn delete_idempotency_keys(conn: &mut PgConnection, before: Timestamp, limit: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query!(
        "DELETE FROM idempotency_key WHERE (account_id, member_id, idempotency_key) IN
            (SELECT account_id, member_id, idempotency_key FROM idempotency_key WHERE created_at < $1 LIMIT $2)",
        before,
        limit
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}

/// Deletes sessions whose time is over at `now`, or that were not used for too long at `idle_at`, at most `limit`; returns how many.
pub async fn delete_ended_sessions(
    conn: &mut PgConnection,
    now: Timestamp,
    idle_at: Timestamp,
    limit: i64,
) -> sqlx::Result<u64> {
    let deleted = sqlx::query!(
        "DELETE FROM session WHERE (account_id, session_id) IN (
             SELECT s.account_id, s.session_id FROM session s LEFT JOIN session_activity a USING (account_id, session_id)
             WHERE s.absolute_expires_at < $1 OR coalesce(a.last_used_at, s.created_at) + s.idle_seconds * interval '1 second' < $3
             LIMIT $2)",
        now,
        limit,
        idle_at,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}

/// Forgets the links of invitations that ended before a time, at most `limit`; returns how many.
pub async fn forget_invitation_tokens(conn: &mut PgConnection, before: Timestamp, limit: i64) -> sqlx::Result<u64> {
    let forgotten = sqlx::query!(
        "UPDATE invitation SET token_hash = NULL, token_key_version = NULL WHERE (account_id, invitation_id) IN
            (SELECT account_id, invitation_id FROM invitation WHERE finished_at < $1 AND token_hash IS NOT NULL LIMIT $2)",
        before,
        limit
    );
    Ok(forgotten.execute(conn).await?.rows_affected())
}

/// Uses of sessions of many accounts: a column each of [`write_activity`].
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// Accounts.
    pub accounts: Vec<uuid::Uuid>,
    /// Sessions.
    pub sessions: Vec<uuid::Uuid>,
    /// Whose they are.
    pub members: Vec<uuid::Uuid>,
    /// When they were used.
    pub at: Vec<Timestamp>,
}

/// Writes when sessions and members were last active. Sessions that ended meanwhile are left out; rows are taken in one order, so
/// that two processes do not deadlock.
pub async fn write_activity(pool: &PgPool, uses: &Uses) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH used AS (
             SELECT u.* FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[]) u(account_id, session_id, member_id, used_at)
             JOIN session s USING (account_id, session_id) ORDER BY account_id, session_id FOR KEY SHARE OF s),
         sessions AS (
             INSERT INTO session_activity AS a (account_id, session_id, last_used_at)
             SELECT account_id, session_id, used_at FROM used
             ON CONFLICT (account_id, session_id) DO UPDATE SET last_used_at = greatest(a.last_used_at, excluded.last_used_at))
         INSERT INTO member_activity AS a (account_id, member_id, last_activity_at)
         SELECT account_id, member_id, max(used_at) FROM used GROUP BY account_id, member_id ORDER BY account_id, member_id
         ON CONFLICT (account_id, member_id) DO UPDATE SET last_activity_at = greatest(a.last_activity_at, excluded.last_activity_at)",
        &uses.accounts,
        &uses.sessions,
        &uses.members,
        &uses.at,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// How far an account's feed has come.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// The account.
    pub account_id: AccountId,
    /// The number that its next event will have.
    pub next_seq: i64,
    /// Grows whenever somebody's rights change.
    pub access_version: i64,
}

/// How far the feeds of some accounts have come, and the database's time.
pub async fn feed_positions(
    conn: &mut PgConnection,
    accounts: &[AccountId],
) -> sqlx::Result<(Vec<Position>, Option<Timestamp>)> {
    let ids: Vec<uuid::Uuid> = accounts.iter().map(|account| account.0).collect();
    let rows = sqlx::query!(
        r#"SELECT account_id AS "account_id: AccountId", next_seq, access_version, now() AS "now!: Timestamp"
           FROM account_feed WHERE account_id = ANY($1)"#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    let now = rows.first().map(|row| row.now);
    let positions = rows.into_iter().map(|row| Position {
        account_id: row.account_id,
        next_seq: row.next_seq,
        access_version: row.access_version,
    });
    Ok((positions.collect(), now))
}

/// Accounts with a period, a trial or the whole account at its end, or a trial that ends within three days and that nobody was told of; in
/// the order of ids, from one on.
pub async fn accounts_with_due_billing(
    pool: &PgPool,
    now: Timestamp,
    after: Option<AccountId>,
    limit: i64,
) -> sqlx::Result<Vec<AccountId>> {
    let after = after.map_or(uuid::Uuid::nil(), |account| account.0);
    sqlx::query_scalar!(
        r#"SELECT account_id AS "account_id!: AccountId" FROM (
               SELECT account_id FROM billing_period WHERE NOT closed AND ends_at <= $1
               UNION
               SELECT t.account_id FROM license_trial t JOIN account_billing b USING (account_id)
               WHERE t.ended_at IS NULL AND b.ended_at IS NULL
                 AND (t.ends_at <= $1 OR (t.noticed_at IS NULL AND t.ends_at <= $1 + interval '3 days'))
               UNION
               SELECT account_id FROM account_billing WHERE ended_at IS NULL AND ends_at <= $1) due
           WHERE account_id > $2 ORDER BY account_id LIMIT $3"#,
        now as Timestamp,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Accounts with a statement that is to be collected, or past due; in the order of ids, from one on.
pub async fn accounts_with_due_statements(
    pool: &PgPool,
    now: Timestamp,
    after: Option<AccountId>,
    limit: i64,
) -> sqlx::Result<Vec<AccountId>> {
    let after = after.map_or(uuid::Uuid::nil(), |account| account.0);
    sqlx::query_scalar!(
        r#"SELECT DISTINCT account_id AS "account_id: AccountId" FROM statement
           WHERE next_try_at <= $1 AND state = 'OPEN' AND account_id > $2 ORDER BY 1 LIMIT $3"#,
        now as Timestamp,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Accounts that may have few licences left and were not told so; in the order of ids, from one on. Their own numbers decide.
pub async fn accounts_with_few_licenses(
    pool: &PgPool,
    after: Option<AccountId>,
    limit: i64,
) -> sqlx::Result<Vec<AccountId>> {
    let after = after.map_or(uuid::Uuid::nil(), |account| account.0);
    sqlx::query_scalar!(
        r#"SELECT DISTINCT p.account_id AS "account_id: AccountId" FROM license_pool p JOIN account_feed f USING (account_id)
           WHERE p.alerted_in_use IS DISTINCT FROM p.in_use AND NOT p.closing AND p.account_id > $1 AND f.writable
             AND p.granted + p.trial + p.paid - p.in_use - (p.scheduled - p.named_held)
                 <= greatest(2, (p.granted + p.trial + p.paid) / 10)
           ORDER BY 1 LIMIT $2"#,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Deletes quotes that nobody confirmed and that expired before a time, at most `limit`; returns how many.
pub async fn delete_expired_quotes(conn: &mut PgConnection, before: Timestamp, limit: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query!(
        "DELETE FROM license_quote WHERE (account_id, quote_id) IN (
             SELECT q.account_id, q.quote_id FROM license_quote q
             WHERE q.expires_at < $1
               AND NOT EXISTS (SELECT FROM license_change c WHERE c.account_id = q.account_id AND c.quote_id = q.quote_id)
             ORDER BY q.expires_at LIMIT $2)",
        before as Timestamp,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}
