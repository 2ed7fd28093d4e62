//! Tokens: made here, shown once, stored as hashes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::id::AccountId;

/// What a token is for; its prefix is the first thing a reader sees of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A session.
    Session,
    /// The link in an invitation.
    Invitation,
    /// The link that confirms a sign-up.
    SignUp,
    /// The link that lets a person choose a new password.
    PasswordReset,
    /// The link that confirms a new login e-mail, sent to it.
    LoginEmailConfirm,
    /// The link by which the old login e-mail agrees to a new one.
    LoginEmailApprove,
    /// The link by which the old login e-mail is kept or restored.
    LoginEmailRevert,
    /// The address a file is put to.
    Upload,
    /// The address a file is read from, signed and for a short time.
    Export,
    /// The address a file about imports is read from, signed and for a while.
    ImportFile,
    /// A credential of the host product.
    Service,
}

impl Purpose {
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Session => "mses",
            Self::Invitation => "minv",
            Self::SignUp => "msup",
            Self::PasswordReset => "mpwr",
            Self::LoginEmailConfirm => "mlec",
            Self::LoginEmailApprove => "mlea",
            Self::LoginEmailRevert => "mler",
            Self::Upload => "mupl",
            Self::Export => "mexp",
            Self::ImportFile => "mimf",
            Self::Service => "msvc",
        }
    }
}

/// The installation's secret of one version, from which tokens in mails and keyed digests are derived. See [`super::keys`] for
/// where it is kept.
#[derive(Clone)]
pub struct TokenKey {
    /// Stored beside each hash, so that a key can be replaced while links made with the old one still work.
    pub version: i32,
    bytes: [u8; 32],
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("version", &self.version).finish_non_exhaustive()
    }
}

impl TokenKey {
    /// A key of 32 random bytes.
    pub fn new(version: i32, bytes: [u8; 32]) -> Self {
        Self { version, bytes }
    }

    fn mac(&self, context: &str, parts: &[&[u8]]) -> [u8; 32] {
        self.started(context, parts).finalize().into_bytes().into()
    }

    fn started(&self, context: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes).expect("HMAC takes keys of any length");
        mac.update(context.as_bytes());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }

    /// The token of a subject and generation: `HMAC-SHA-256(key, purpose ‖ id ‖ generation)`. A repeated mail carries the same link.
    pub fn derive(&self, purpose: Purpose, account: Option<AccountId>, id: Uuid, generation: i32) -> Token {
        let secret = self.mac(purpose.prefix(), &[id.as_bytes(), &generation.to_be_bytes()]);
        Token { purpose, account, secret }
    }

    /// A signature of these parts for a purpose: whoever brings it back was given it here.
    pub(crate) fn sign(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 32] {
        self.mac(purpose.prefix(), parts)
    }

    /// Whether a signature is that of these parts. It takes as long whatever is wrong with it.
    pub(crate) fn is_signed(&self, purpose: Purpose, parts: &[&[u8]], signature: &[u8]) -> bool {
        self.started(purpose.prefix(), parts).verify_slice(signature).is_ok()
    }

    /// A digest that only this installation can compute: stands for an address or a network where it must not be stored.
    pub fn digest(&self, context: &str, value: &str) -> [u8; 32] {
        self.mac(context, &[value.as_bytes()])
    }
}

/// A bearer secret. It has no `Debug` and no `Serialize`: it is written out once, by [`Token::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    purpose: Purpose,
    account: Option<AccountId>,
    secret: [u8; 32],
}

impl Token {
    /// A fresh token of 256 random bits.
    pub fn random(purpose: Purpose, account: Option<AccountId>) -> Self {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the operating system gives random bytes");
        Self { purpose, account, secret }
    }

    /// `prefix.account.secret`, or `prefix.secret` where there is no account yet.
    pub fn expose(&self) -> String {
        let secret = URL_SAFE_NO_PAD.encode(self.secret);
        match self.account {
            Some(account) => format!("{}.{}.{secret}", self.purpose.prefix(), account.0.simple()),
            None => format!("{}.{secret}", self.purpose.prefix()),
        }
    }

    /// Reads what [`Token::expose`] wrote; `None` for anything else, so that each token has one spelling.
    pub fn parse(purpose: Purpose, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(purpose.prefix())?.strip_prefix('.')?;
        let (account, secret) = match rest.split_once('.') {
            Some((account, secret)) if account.len() == 32 => (Some(AccountId(Uuid::try_parse(account).ok()?)), secret),
            Some(_) => return None,
            None => (None, rest),
        };
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
        let token = Self { purpose, account, secret };
        // An id is read in either letter case.
        (token.expose() == text).then_some(token)
    }

    /// The account the token belongs to, by which its hash is looked up.
    pub fn account(&self) -> Option<AccountId> {
        self.account
    }

    /// What is stored. SHA-256 without salt is enough for 256 random bits.
    pub fn hash(&self) -> Vec<u8> {
        let mut hasher = Sha256::new();
        hasher.update(self.purpose.prefix());
        hasher.update(self.account.unwrap_or(AccountId(Uuid::nil())).0.as_bytes());
        hasher.update(self.secret);
        hasher.finalize().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        let account = AccountId::new();
        for account in [None, Some(account)] {
            let token = Token::random(Purpose::Session, account);
            let text = token.expose();
            let read = Token::parse(Purpose::Session, &text).expect("its own text");
            assert!(read == token && read.hash() == token.hash());
            assert!(Token::parse(Purpose::Invitation, &text).is_none(), "another purpose");
            assert!(Token::parse(Purpose::Session, &text[..text.len() - 1]).is_none(), "cut");
        }
    }

    #[test]
    fn derives_one_token_per_subject_and_generation() {
        let key = TokenKey::new(1, [7; 32]);
        let id = Uuid::from_u128(42);
        let derive = |purpose, generation| key.derive(purpose, None, id, generation).expose();
        assert_eq!(derive(Purpose::Invitation, 1), derive(Purpose::Invitation, 1));
        assert_ne!(derive(Purpose::Invitation, 1), derive(Purpose::Invitation, 2));
        assert_ne!(derive(Purpose::Invitation, 1)[4..], derive(Purpose::SignUp, 1)[4..]);
    }
}
