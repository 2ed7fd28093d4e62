//! The same address twice in one file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncRead;

use super::column::Column;
use super::file::{FileLimits, MemberFile, ReadError, Record};
use crate::infra::email_address::EmailAddress;

/// The addresses of the records so far. Of each only 16 bytes of its SHA-256 and its row are kept, so that the largest file takes a
/// few megabytes; that any two of 100,000 addresses share them has a probability below 2⁻⁹⁵.
///
/// What counts is that a record has a valid address, not whether the rest of it is valid: which of two rows is meant,
/// only the uploader can tell, and the answer does not depend on what became of the first.
#[derive(Default)]
pub struct SeenAddresses {
    rows: HashMap<[u8; 16], u32>,
}

impl SeenAddresses {
    /// The addresses of the rows before `row`, for a reader that goes on there. The source stands at the beginning of
    /// the file.
    pub async fn before<R: AsyncRead + Unpin>(row: u32, source: R, limits: FileLimits) -> Result<Self, ReadError> {
        let mut seen = Self::default();
        let mut file = MemberFile::open(source, limits).await?;
        while let Some(record) = file.next().await?
            && record.row < row
        {
            seen.note(&record);
        }
        Ok(seen)
    }

    /// Notes the address of a record, if it has a valid one. Returns the row of the first record that had it, if any had.
    pub fn note(&mut self, record: &Record) -> Option<u32> {
        let readable = record.is_aligned() && record.faults.iter().all(|fault| fault.column != Some(Column::Email));
        let address = record.cell(Column::Email).filter(|_| readable).map(EmailAddress::parse);
        match self.rows.entry(digest(&address?.ok()?)) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(vacant) => {
                vacant.insert(record.row);
                None
            }
        }
    }
}

fn digest(address: &EmailAddress) -> [u8; 16] {
    let full: [u8; 32] = Sha256::digest(address.as_str().as_bytes()).into();
    let mut digest = [0; 16];
    digest.copy_from_slice(&full[..16]);
    digest
}
