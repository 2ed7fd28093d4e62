//! Addresses that are a right: signed, for one reader and for a while. Nothing is stored of them. Whoever follows one is that reader as far
//! as anybody can tell; what they may do is to be looked at again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use uuid::Uuid;

use super::clock::Timestamp;
use super::secret::{Purpose, TokenKey};
use crate::id::{AccountId, MemberId};

/// How long a link can be followed that somebody asks for while they are signed in.
pub const LIFETIME: SignedDuration = SignedDuration::from_mins(10);

/// What a link says: the prefix of its purpose, a dot and, in Base64, account, what it leads to, reader, end and the signature of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Of which account.
    pub account: AccountId,
    /// What it leads to, as its purpose understands it.
    pub leads_to: Uuid,
    /// For whom.
    pub reader: MemberId,
    /// Seconds since 1970.
    until: i64,
}

const SIGNED: usize = 3 * 16 + 8;

impl Link {
    /// A link that can be followed until then.
    pub fn new(account: AccountId, leads_to: Uuid, reader: MemberId, until: Timestamp) -> Self {
        Self { account, leads_to, reader, until: until.as_second() }
    }

    /// Whether it cannot be followed any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now.as_second()
    }

    fn bytes(&self) -> [u8; SIGNED] {
        let mut bytes = [0; SIGNED];
        bytes[..16].copy_from_slice(self.account.0.as_bytes());
        bytes[16..32].copy_from_slice(self.leads_to.as_bytes());
        bytes[32..48].copy_from_slice(self.reader.0.as_bytes());
        bytes[48..].copy_from_slice(&self.until.to_be_bytes());
        bytes
    }

    /// The secret of the address.
    pub fn write(&self, key: &TokenKey, purpose: Purpose) -> String {
        let signed = self.bytes();
        let signature = key.sign(purpose, &[&signed]);
        format!("{}.{}", purpose.prefix(), URL_SAFE_NO_PAD.encode([&signed[..], &signature[..]].concat()))
    }

    /// Reads what [`Link::write`] wrote with the same key for the same purpose; `None` for anything else.
    pub fn read(key: &TokenKey, purpose: Purpose, text: &str) -> Option<Self> {
        let text = text.strip_prefix(purpose.prefix())?.strip_prefix('.')?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, signature) = bytes.split_at_checked(SIGNED)?;
        if !key.is_signed(purpose, &[signed], signature) {
            return None;
        }
        let id = |at: usize| Uuid::from_slice(&signed[at..at + 16]).ok();
        Some(Self {
            account: AccountId(id(0)?),
            leads_to: id(16)?,
            reader: MemberId(id(32)?),
            until: i64::from_be_bytes(signed[48..].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some() -> Link {
        Link { account: AccountId::new(), leads_to: Uuid::new_v4(), reader: MemberId::new(), until: 1_900_000_000 }
    }

    #[test]
    fn reads_its_own_links_and_no_others() {
        let (key, other) = (TokenKey::new(1, [7; 32]), TokenKey::new(1, [8; 32]));
        let read = |text: &str| Link::read(&key, Purpose::Export, text);
        let link = some();
        assert!(read(&link.write(&other, Purpose::Export)).is_none(), "signed elsewhere");
        let text = link.write(&key, Purpose::Export);
        assert_eq!((read(&text), text.len()), (Some(link), 5 + 118));
        let elsewhere = link.write(&key, Purpose::ImportFile);
        for other in [
            text.replace("mexp", "mupl"),
            elsewhere.replace("mimf", "mexp"),
            elsewhere,
            text[..text.len() - 1].to_owned(),
            format!("{text}A"),
            String::new(),
        ] {
            assert!(read(&other).is_none(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_part_of_a_link_can_be_changed(place in 0..SIGNED + 32, bit in 0..8_u8) {
            let key = TokenKey::new(1, [7; 32]);
            let text = some().write(&key, Purpose::Export);
            let mut bytes = URL_SAFE_NO_PAD.decode(&text[5..]).expect("its own");
            bytes[place] ^= 1_u8 << bit;
            let changed = format!("mexp.{}", URL_SAFE_NO_PAD.encode(bytes));
            prop_assert!(Link::read(&key, Purpose::Export, &changed).is_none());
        }
    }
}
