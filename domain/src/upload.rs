//! Uploads: a file that somebody put to an address only they know, for one use.

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use jiff::SignedDuration;
use object_store::Error as StoreError;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use tokio::io::AsyncRead;
use uuid::Uuid;

use crate::actor::{Action, Actor, Author, Origin, Target};
use crate::change::{Change, Kind, is_transient, persist};
use crate::error::{Code, Error, Refused, Result, field};
use crate::id::{AccountId, MemberId, UploadId};
use crate::import::encoding::is_binary;
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::fault::fail_point;
use crate::infra::files::{Files, WriteError};
use crate::infra::secret::{Purpose, Token};
use crate::profile;
use crate::rate;

mod purge;

pub use purge::{purge_expired, purge_one};

/// How long a file can be put to its address.
pub const PUT_LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// How long a file is kept, counted again from its use.
pub const FILE_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

const GENERATION: i32 = 1;

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Nothing was put yet.
    Open,
    /// A file is there; another one may still take its place.
    Stored,
    /// Something was made of the file.
    Used,
}

/// An upload as whoever made it sees it.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its id.
    pub upload_id: UploadId,
    /// What the file is called where it comes from.
    pub file_name: String,
    /// Where it stands.
    pub state: State,
    /// Bytes of the file that is there.
    pub size_bytes: Option<i64>,
    /// Until when a file can be put.
    pub put_until: Timestamp,
    /// When it is deleted, with its file.
    pub expires_at: Timestamp,
}

/// Makes an upload. Its address comes from [`token`].
///
/// # Errors
/// `NOT_PERMITTED`; what is wrong with `fileName`.
pub async fn create(change: &mut Change, actor: &Actor, file_name: &str) -> Result<UploadId> {
    actor.may(Action::Import, Target::Account)?;
    let file_name = field("fileName", profile::file_name(file_name))?;
    change.standing(actor).await?.may(Action::Import, Target::Account)?;
    let (db, now) = (change.db().clone(), change.now());
    rate::hit(&db, change.conn(), rate::UPLOAD_ACCOUNT, &actor.account_id.to_string(), now).await??;
    let (account, now, id) = (change.account(), change.now(), UploadId::new());
    let (hash, key_version) = (token(change.db(), account, id).hash(), change.db().key.version);
    sqlx::query!(
        "INSERT INTO upload (account_id, upload_id, created_by, file_name, token_hash, token_key_version, state, created_at, put_until,
                             expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'OPEN', $7, $8, $9)",
        account.0,
        id.0,
        actor.member_id.0,
        file_name,
        hash,
        key_version,
        now,
        now + PUT_LIFETIME,
        now + FILE_LIFETIME,
    )
    .execute(change.conn())
    .await?;
    Ok(id)
}

/// The secret by which a file is put: the path of the address is `/uploads/` and the token. The same each time.
pub fn token(db: &Db, account: AccountId, id: UploadId) -> Token {
    db.key.derive(Purpose::Upload, Some(account), id.0, GENERATION)
}

/// Reads an upload; `None` unless the actor made it.
pub async fn read(conn: &mut PgConnection, actor: &Actor, id: UploadId) -> sqlx::Result<Option<Upload>> {
    sqlx::query_as!(
        Upload,
        r#"SELECT upload_id AS "upload_id: UploadId", file_name, state AS "state: State", size_bytes, put_until, expires_at
           FROM upload WHERE account_id = $1 AND upload_id = $2 AND created_by = $3"#,
        actor.account_id.0,
        id.0,
        actor.member_id.0,
    )
    .fetch_optional(conn)
    .await
}

/// Why nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// The token is malformed, unknown, over, or its upload was used: all alike.
    #[error("there is no such upload")]
    Gone,
    /// The file is longer than it may be.
    #[error("the file is too long")]
    TooLarge,
    /// It is what a program keeps for itself, as spreadsheets do, and no text.
    #[error("the file is no text")]
    NotText,
    /// What arrived is not what was sent.
    #[error("the file was damaged on its way")]
    Damaged,
    /// Whoever sent it stopped.
    #[error("the sender stopped")]
    Interrupted,
    /// Something failed here.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<WriteError> for StoreFault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::TooLarge => Self::TooLarge,
            WriteError::Interrupted => Self::Interrupted,
            WriteError::Store(error) => Self::Failed(error.into()),
        }
    }
}

/// Where a file goes, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The account.
    pub account: AccountId,
    /// The upload.
    pub upload_id: UploadId,
    created_by: MemberId,
}

/// Whether a file has become its upload's.
enum Placed {
    /// It has, in place of this one.
    Yes(Option<String>),
    /// Nobody knows: whether it was committed was not answered.
    Perhaps(Error),
}

/// Looks at a file as it arrives.
#[derive(Default)]
struct Arriving {
    hash: Sha256,
    begun: bool,
    binary: bool,
}

impl Arriving {
    /// Whether it goes on.
    fn take(&mut self, bytes: &Bytes) -> bool {
        if !bytes.is_empty() && !std::mem::replace(&mut self.begun, true) {
            self.binary = is_binary(bytes);
        }
        self.hash.update(bytes);
        !self.binary
    }
}

/// Stores what is put to an upload's address, which [`find`] answers, at most `limit` bytes, whose SHA-256 must be the one given, if one is. A later file takes
/// the place of an earlier one, until the upload is used.
pub async fn store<E>(
    db: &Db,
    files: &Files,
    place: &Place,
    request_id: Option<String>,
    body: impl Stream<Item = Result<Bytes, E>> + Send,
    limit: u64,
    digest: Option<[u8; 32]>,
) -> Result<(), StoreFault> {
    // A name of its own for each: a reader of the file before never sees this one.
    let key =
        format!("uploads/{}/{}/{}", place.account.0.simple(), place.upload_id.0.simple(), Uuid::new_v4().simple());
    let mut arriving = Arriving::default();
    // One that ends with a fault is stored as little as one that breaks off.
    let looked_at =
        body.map(|chunk| chunk.map_err(drop).and_then(|bytes| if arriving.take(&bytes) { Ok(bytes) } else { Err(()) }));
    let size = match files.write(&key, looked_at, limit).await {
        Err(WriteError::Interrupted) if arriving.binary => return Err(StoreFault::NotText),
        other => other?,
    };
    if digest.is_some_and(|digest| digest != <[u8; 32]>::from(arriving.hash.finalize())) {
        discard(files, &key).await;
        return Err(StoreFault::Damaged);
    }
    match put_in_place(db, place, request_id, (&key, size)).await {
        Ok(Placed::Yes(before)) => {
            if let Some(before) = before
                && let Err(error) = files.delete(&before).await
            {
                tracing::warn!(%error, "a replaced file was not deleted; the sweep does it");
            }
            Ok(())
        }
        // The row may name this file. If it does not, the sweep finds that.
        Ok(Placed::Perhaps(error)) => Err(error.into()),
        Err(error) => {
            discard(files, &key).await;
            Err(match error {
                // Used or cancelled meanwhile, or the uploader may no more.
                Error::Refused(_) | Error::Unauthenticated => StoreFault::Gone,
                other => StoreFault::Failed(other),
            })
        }
    }
}

async fn discard(files: &Files, key: &str) {
    if let Err(error) = files.delete(key).await {
        tracing::warn!(%error, "a refused file was not deleted; the sweep does it");
    }
}

/// Finds where a file goes that is put to the address of this token; `None` when the token is malformed, unknown, over, or its upload was
/// used: all alike.
pub async fn find(db: &Db, token: &str) -> Result<Option<Place>> {
    let Some(token) = Token::parse(Purpose::Upload, token) else { return Ok(None) };
    let Some(account) = token.account() else { return Ok(None) };
    let row = sqlx::query!(
        r#"SELECT upload_id AS "upload_id: UploadId", created_by AS "created_by: MemberId", put_until, now() AS "now!"
           FROM upload WHERE account_id = $1 AND token_hash = $2 AND state IN ('OPEN', 'STORED')"#,
        account.0,
        token.hash(),
    )
    .fetch_optional(&db.pool)
    .await?;
    let live = row.filter(|row| row.put_until > db.clock.business(row.now));
    Ok(live.map(|row| Place { account, upload_id: row.upload_id, created_by: row.created_by }))
}

/// Makes a file the upload's. After an error no row names it, and none will.
async fn put_in_place(db: &Db, place: &Place, request_id: Option<String>, file: (&str, u64)) -> Result<Placed> {
    fail_point!("upload.after_file");
    let origin = Origin { author: Author::Member(place.created_by), request_id, network_address: None };
    persist(|| try_to_put_in_place(db, place, origin.clone(), file)).await
}

async fn try_to_put_in_place(db: &Db, place: &Place, origin: Origin, (key, size): (&str, u64)) -> Result<Placed> {
    let mut change = Change::begin(db, place.account, Kind::Asked, origin, None).await?;
    let (account, now) = (place.account.0, change.now());
    let before = sqlx::query_scalar!(
        "SELECT object_key FROM upload
         WHERE account_id = $1 AND upload_id = $2 AND state IN ('OPEN', 'STORED') AND put_until > $3 FOR NO KEY UPDATE",
        account,
        place.upload_id.0,
        now,
    )
    .fetch_optional(change.conn())
    .await?
    .ok_or(Code::UploadUsed)?;
    // Who may not import any more puts no file either.
    let standing = change.standing_of(place.created_by).await?.ok_or(Error::Unauthenticated)?;
    standing.may(Action::Import, Target::Account)?;
    sqlx::query!(
        "UPDATE upload SET state = 'STORED', object_key = $3, size_bytes = $4 WHERE account_id = $1 AND upload_id = $2",
        account,
        place.upload_id.0,
        key,
        i64::try_from(size).expect("bounded by the limit on uploads"),
    )
    .execute(change.conn())
    .await?;
    let committed = async {
        change.commit().await?;
        fail_point!("upload.after_row");
        Ok(())
    };
    match committed.await {
        Ok(()) => Ok(Placed::Yes(before)),
        // The commit may have happened although its answer did not arrive.
        Err(error @ Error::Database(_)) if !is_transient(&error) => Ok(Placed::Perhaps(error)),
        Err(error) => Err(error),
    }
}

/// Takes a stored file for its one use, and returns its size in bytes. Dry runs before are none.
///
/// # Errors
/// `NOT_FOUND`, `UPLOAD_NOT_READY`, `UPLOAD_USED`, `UPLOAD_EXPIRED`, all at `uploadId`.
pub(crate) async fn take(change: &mut Change, id: UploadId) -> Result<i64> {
    let (account, now) = (change.account(), change.now());
    let row = sqlx::query!(
        r#"SELECT u.state AS "state: State", u.put_until, u.expires_at, u.size_bytes,
                  EXISTS (SELECT FROM member_import i WHERE i.account_id = u.account_id AND i.upload_id = u.upload_id AND NOT i.dry_run)
                      AS "imported!"
           FROM upload u WHERE u.account_id = $1 AND u.upload_id = $2 FOR NO KEY UPDATE OF u"#,
        account.0,
        id.0,
    )
    .fetch_optional(change.conn())
    .await?;
    let refused = |code| Refused::new(code).at("uploadId");
    let row = row.ok_or_else(|| refused(Code::NotFound))?;
    let size = match (row.state, row.size_bytes) {
        (State::Used, _) if row.imported => return Err(refused(Code::UploadUsed).into()),
        _ if row.expires_at <= now => return Err(refused(Code::UploadExpired).into()),
        (State::Stored | State::Used, Some(size)) => size,
        _ if row.put_until <= now => return Err(refused(Code::UploadExpired).into()),
        _ => return Err(refused(Code::UploadNotReady).into()),
    };
    sqlx::query!(
        "UPDATE upload SET state = 'USED', expires_at = $3 WHERE account_id = $1 AND upload_id = $2",
        account.0,
        id.0,
        now + FILE_LIFETIME,
    )
    .execute(change.conn())
    .await?;
    Ok(size)
}

/// A file that is there.
#[derive(Clone, Debug)]
pub struct Stored {
    key: String,
    size: u64,
}

/// Finds the file of an upload; `None` when it was deleted.
pub async fn find_file(conn: &mut PgConnection, account: AccountId, id: UploadId) -> sqlx::Result<Option<Stored>> {
    let row = sqlx::query!(
        r#"SELECT object_key AS "object_key!", size_bytes AS "size_bytes!" FROM upload
           WHERE account_id = $1 AND upload_id = $2 AND object_key IS NOT NULL"#,
        account.0,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row
        .map(|row| Stored { key: row.object_key, size: u64::try_from(row.size_bytes).expect("checked by the table") }))
}

/// Reads a file from a byte on.
pub async fn open_stream(
    files: &Files,
    file: &Stored,
    offset: u64,
) -> Result<impl AsyncRead + Send + Unpin + use<>, StoreError> {
    files.read(&file.key, offset, file.size).await
}
