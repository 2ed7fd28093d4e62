//! The same address twice in one file.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncRead;

use super::column::Column;
use super::file::{FileLimits, MemberFile, ReadError, Record};
use crate::infra::email_address::EmailAddress;

/// The addresses of the records so far. Of each only 16 bytes of its SHA-256 are kept, so that the largest file takes a
/// few megabytes; that any two of 100,000 addresses share them has a probability below 2⁻⁹⁵.
///
/// What counts is that a record has a valid address, not whether the rest of it is valid: which of two rows is meant,
/// only the uploader can tell, and the answer does not depend on what became of the first.
#[derive(Default)]
pub struct SeenAddresses {
    digests: HashSet<[u8; 16]>,
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

    /// Notes the address of a record, if it has a valid one. Returns whether an earlier record had it.
    pub fn note(&mut self, record: &Record) -> bool {
        let readable = record.is_aligned() && record.faults.iter().all(|fault| fault.column != Some(Column::Email));
        let address = record.cell(Column::Email).filter(|_| readable).map(EmailAddress::parse);
        matches!(address, Some(Ok(address)) if !self.digests.insert(digest(&address)))
    }
}

fn digest(address: &EmailAddress) -> [u8; 16] {
    let full: [u8; 32] = Sha256::digest(address.as_str().as_bytes()).into();
    let mut digest = [0; 16];
    digest.copy_from_slice(&full[..16]);
    digest
}
