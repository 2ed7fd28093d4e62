//! Links by which a file about imports is fetched: signed, for one member, and for a while. Nothing is stored of them. Whoever opens
//! one must still be allowed to see imports, so that they die with the right to them.

use jiff::SignedDuration;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::actor::{Action, Target, decide, read_rights};
use crate::error::Result;
use crate::id::{AccountId, ImportId, MemberId};
use crate::infra::clock::Timestamp;
use crate::infra::db::Db;

/// How long a link works that somebody asks for while they are signed in.
pub const LIFETIME: SignedDuration = SignedDuration::from_mins(10);

const CONTEXT: &str = "member_import.link";

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// The template of an import.
    Template,
    /// The rejected rows of an import.
    FailedRows(ImportId),
}

/// A link, as it stands in an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Of which account.
    pub account: AccountId,
    /// For whom.
    pub member: MemberId,
    /// To what.
    pub leads: Leads,
    /// Until when, in seconds since 1970.
    until: i64,
}

impl Link {
    /// A link that works until then.
    pub fn new(account: AccountId, member: MemberId, leads: Leads, until: Timestamp) -> Self {
        Self { account, member, leads, until: until.0.as_second() }
    }

    fn words(&self) -> String {
        let import = match self.leads {
            Leads::Template => Uuid::nil(),
            Leads::FailedRows(import) => import.0,
        };
        let (account, member) = (self.account.0.simple(), self.member.0.simple());
        format!("{account}.{member}.{}.{}", import.simple(), self.until)
    }

    /// The last parts of its address, below `/member-imports/`.
    pub fn path(&self, db: &Db) -> String {
        let words = self.words();
        let name = match self.leads {
            Leads::Template => "template.csv",
            Leads::FailedRows(_) => "failed-rows.csv",
        };
        let mac: String = db.key.digest(CONTEXT, &words).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{words}.{mac}/{name}")
    }

    /// Reads the part of an address before the file's name; `None` unless this installation wrote it, it still works, and its member
    /// may still see imports.
    pub async fn open(db: &Db, token: &str) -> Result<Option<Self>> {
        let Some(link) = Self::parse(token) else { return Ok(None) };
        let mut conn = db.pool.acquire().await?;
        let now = db.now_on(&mut conn).await?;
        let path = link.path(db);
        let known = path.split('/').next().is_some_and(|written| digest(written) == digest(token));
        if !known || link.until <= now.0.as_second() {
            return Ok(None);
        }
        let rights = read_rights(&mut conn, link.account, link.member).await?;
        let may =
            |action| rights.as_ref().is_some_and(|rights| decide(link.member, rights, action, Target::Account).is_ok());
        Ok(may(Action::ReadImports).then_some(link))
    }

    fn parse(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let mut id = || parts.next().and_then(|part| Uuid::try_parse(part).ok());
        let (account, member, import) = (AccountId(id()?), MemberId(id()?), id()?);
        let until = parts.next()?.parse().ok()?;
        let leads = if import.is_nil() { Leads::Template } else { Leads::FailedRows(ImportId(import)) };
        parts.next().map(|_mac| Self { account, member, leads, until })
    }
}

/// Digests are compared, so that how long it takes tells nothing of what was expected.
fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
