//! Links to files: signed, for a few minutes, and for the person who read them. Whoever follows one is that person as far as anybody can
//! tell; what they may do is looked at again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use object_store::Error as StoreError;
use tokio::io::AsyncRead;
use uuid::Uuid;

use super::{Kind, scope};
use crate::actor::read_rights;
use crate::error::Result;
use crate::id::{AccountId, ExportId, MemberId, UnitId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;
use crate::infra::files::Files;
use crate::infra::secret::{Purpose, TokenKey};

/// How long a link can be followed.
pub const LINK_LIFETIME: SignedDuration = SignedDuration::from_mins(10);

/// What a link says: `mexp.` and, in Base64, account, export, reader, end and the signature of these.
struct Link {
    account: AccountId,
    export: ExportId,
    reader: MemberId,
    /// Seconds since 1970.
    until: i64,
}

const SIGNED: usize = 3 * 16 + 8;

impl Link {
    fn bytes(&self) -> [u8; SIGNED] {
        let mut bytes = [0; SIGNED];
        bytes[..16].copy_from_slice(self.account.0.as_bytes());
        bytes[16..32].copy_from_slice(self.export.0.as_bytes());
        bytes[32..48].copy_from_slice(self.reader.0.as_bytes());
        bytes[48..].copy_from_slice(&self.until.to_be_bytes());
        bytes
    }

    fn write(&self, key: &TokenKey) -> String {
        let signed = self.bytes();
        let signature = key.sign(Purpose::Export, &[&signed]);
        format!("{}.{}", Purpose::Export.prefix(), URL_SAFE_NO_PAD.encode([&signed[..], &signature[..]].concat()))
    }

    /// Reads what [`Link::write`] wrote with the same key; `None` for anything else.
    fn read(key: &TokenKey, text: &str) -> Option<Self> {
        let text = text.strip_prefix(Purpose::Export.prefix())?.strip_prefix('.')?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, signature) = bytes.split_at_checked(SIGNED)?;
        if !key.is_signed(Purpose::Export, &[signed], signature) {
            return None;
        }
        let id = |at: usize| Uuid::from_slice(&signed[at..at + 16]).ok();
        Some(Self {
            account: AccountId(id(0)?),
            export: ExportId(id(16)?),
            reader: MemberId(id(32)?),
            until: i64::from_be_bytes(signed[48..].try_into().ok()?),
        })
    }
}

/// The secret by which `reader` can read the file of an export from now on: the path of the address is `/export/` and this.
pub fn link(db: &Db, account: AccountId, export: ExportId, reader: MemberId, now: Timestamp) -> String {
    Link { account, export, reader, until: (now + LINK_LIFETIME).as_second() }.write(&db.key)
}

/// A file that may be read.
#[derive(Clone, Debug)]
pub struct Download {
    /// What it is called.
    pub file_name: String,
    /// What is in it.
    pub kind: Kind,
    /// Its bytes.
    pub size: u64,
    key: String,
}

impl Download {
    /// Reads the file.
    pub async fn stream(&self, files: &Files) -> Result<impl AsyncRead + Send + Unpin + use<>, StoreError> {
        files.read(&self.key, 0, self.size).await
    }
}

/// Follows a link. `None`, whatever the reason: it is none of ours or over, its file is gone, or its reader is no active member any more
/// or may not read what is in the file.
pub async fn open(db: &Db, link: &str) -> Result<Option<Download>> {
    let Some(link) = Link::read(&db.key, link) else { return Ok(None) };
    let mut conn = db.pool.acquire().await?;
    let now = db.now_on(&mut conn).await?;
    if link.until <= now.as_second() {
        return Ok(None);
    }
    let row = sqlx::query!(
        r#"SELECT kind AS "kind: Kind", unit_ids AS "unit_ids: Vec<UnitId>", file_key AS "file_key!", file_name AS "file_name!",
                  size_bytes AS "size_bytes!"
           FROM export
           WHERE account_id = $1 AND export_id = $2 AND requested_by = $3 AND state = 'DONE' AND expires_at > $4"#,
        link.account.0,
        link.export.0,
        link.reader.0,
        now,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let rights = read_rights(&mut conn, link.account, link.reader).await?;
    let allowed = match rights.and_then(|rights| scope(row.kind, &rights)) {
        None => false,
        Some(None) => true,
        Some(Some(now)) => row.unit_ids.is_some_and(|then| then.iter().all(|unit| now.contains(unit))),
    };
    Ok(allowed.then(|| Download {
        file_name: row.file_name,
        kind: row.kind,
        size: u64::try_from(row.size_bytes).expect("checked by the table"),
        key: row.file_key,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some() -> Link {
        Link { account: AccountId::new(), export: ExportId::new(), reader: MemberId::new(), until: 1_900_000_000 }
    }

    #[test]
    fn reads_its_own_links_and_no_others() {
        let (key, other) = (TokenKey::new(1, [7; 32]), TokenKey::new(1, [8; 32]));
        let (link, text) = (some(), some().write(&other));
        assert!(Link::read(&key, &text).is_none(), "signed elsewhere");
        let text = link.write(&key);
        let read = Link::read(&key, &text).expect("its own");
        assert_eq!((read.bytes(), text.len()), (link.bytes(), 5 + 118));
        for other in
            [text.replace("mexp", "mupl"), text[..text.len() - 1].to_owned(), format!("{text}A"), String::new()]
        {
            assert!(Link::read(&key, &other).is_none(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_part_of_a_link_can_be_changed(place in 0..SIGNED + 32, bit in 0..8_u8) {
            let key = TokenKey::new(1, [7; 32]);
            let text = some().write(&key);
            let mut bytes = URL_SAFE_NO_PAD.decode(&text[5..]).expect("its own");
            bytes[place] ^= 1_u8 << bit;
            let changed = format!("mexp.{}", URL_SAFE_NO_PAD.encode(bytes));
            prop_assert!(Link::read(&key, &changed).is_none());
        }
    }
}
