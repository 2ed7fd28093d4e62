//! An e-mail address as the product compares, stores and mails it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// Bytes of a whole address (RFC 5321 §4.5.3.1.3, less the angle brackets).
const MAX_BYTES: usize = 254;
/// Bytes of the part before the `@` (RFC 5321 §4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;

/// A normalised address: two addresses of one mailbox, as far as letter case and the spelling of the domain go, are
/// equal.
///
/// * Surrounding white space is dropped.
/// * The local part is lower-cased. It is a dot-atom of ASCII (RFC 5322 §3.2.3): quoted strings and comments are
///   refused, and so are letters beyond ASCII, because such an address is reachable only where every server on the way
///   speaks SMTPUTF8, and because look-alike letters would make two different mailboxes look the same in a list of
///   members.
/// * The domain is mapped by UTS 46 (which normalises Unicode) to lower-case ASCII, so that an international domain is
///   equal to its punycode form. It has at least two labels; address literals and bare numbers are refused.
///
/// `Debug` never shows the address, so that it cannot reach a log by accident.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, sqlx::Type)]
#[serde(try_from = "String", into = "String")]
#[sqlx(transparent)]
pub struct EmailAddress(String);

/// Why a text is not an address. The text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailAddressError {
    /// Nothing but white space.
    #[error("the e-mail address is empty")]
    Empty,
    /// Longer than 254 bytes, or more than 64 before the `@`.
    #[error("the e-mail address is too long")]
    TooLong,
    /// No `@`, or a local part that is not a plain dot-atom.
    #[error("the part of the e-mail address before the @ is malformed")]
    LocalPart,
    /// A local part with letters beyond ASCII.
    #[error("the part of the e-mail address before the @ has letters beyond ASCII")]
    NonAsciiLocalPart,
    /// Not the name of a domain.
    #[error("the domain of the e-mail address is malformed")]
    Domain,
}

impl EmailAddress {
    /// Normalises a text that a person typed.
    pub fn parse(text: &str) -> Result<Self, EmailAddressError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EmailAddressError::Empty);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailAddressError::LocalPart)?;
        check_local_part(local)?;
        let domain = normalise_domain(domain)?;
        let address = format!("{}@{domain}", local.to_ascii_lowercase());
        if address.len() > MAX_BYTES {
            return Err(EmailAddressError::TooLong);
        }
        Ok(Self(address))
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands after the `@`, in lower-case ASCII.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').expect("an address has an @").1
    }

    /// The part of the domain that somebody registered, by the public suffix list: `example.co.uk` of
    /// `mail.example.co.uk`. The whole domain where that is itself a public suffix.
    pub fn registrable_domain(&self) -> &str {
        registrable(self.domain())
    }
}

/// A domain as [`EmailAddress::domain`] gives it: lower-case ASCII, at least two labels.
pub fn normalise_domain(text: &str) -> Result<Cow<'_, str>, EmailAddressError> {
    let text = text.trim();
    // The mapping is not linear in the length; four times the limit leaves room for every spelling of a valid name.
    if text.len() > 4 * MAX_BYTES {
        return Err(EmailAddressError::TooLong);
    }
    let ascii = Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| EmailAddressError::Domain)?;
    let (_, top) = ascii.rsplit_once('.').ok_or(EmailAddressError::Domain)?;
    if top.len() < 2 || top.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EmailAddressError::Domain);
    }
    Ok(ascii)
}

/// The registrable part of a normalised domain, or the whole of it where there is none.
pub(crate) fn registrable(domain: &str) -> &str {
    psl::domain_str(domain).unwrap_or(domain)
}

fn check_local_part(local: &str) -> Result<(), EmailAddressError> {
    if local.len() > MAX_LOCAL_BYTES {
        return Err(EmailAddressError::TooLong);
    }
    let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_atom_byte);
    match local.split('.').all(is_atom) {
        true => Ok(()),
        false if local.is_ascii() => Err(EmailAddressError::LocalPart),
        false => Err(EmailAddressError::NonAsciiLocalPart),
    }
}

/// `atext` of RFC 5322 §3.2.3.
fn is_atom_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

impl FromStr for EmailAddress {
    type Err = EmailAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = EmailAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.0
    }
}

impl AsRef<str> for EmailAddress {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EmailAddress(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normalised(text: &str) -> Result<String, EmailAddressError> {
        EmailAddress::parse(text).map(String::from)
    }

    #[test]
    fn spellings_of_one_mailbox_are_equal() {
        for (text, expected) in [
            ("  Ana.Lima@Example.COM\u{a0}", "ana.lima@example.com"),
            ("o'brien+tag@sub.example.co.uk", "o'brien+tag@sub.example.co.uk"),
            ("kontakt@Müller.example", "kontakt@xn--mller-kva.example"),
            ("kontakt@mu\u{308}ller.example", "kontakt@xn--mller-kva.example"),
            ("kontakt@XN--MLLER-KVA.example", "kontakt@xn--mller-kva.example"),
            ("a@例え。テスト", "a@xn--r8jz45g.xn--zckzah"),
        ] {
            assert_eq!(normalised(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for (text, error) in [
            (" ", EmailAddressError::Empty),
            ("not-an-address", EmailAddressError::LocalPart),
            ("@example.com", EmailAddressError::LocalPart),
            ("a@b@example.com", EmailAddressError::LocalPart),
            (".a@example.com", EmailAddressError::LocalPart),
            ("a..b@example.com", EmailAddressError::LocalPart),
            ("\"a b\"@example.com", EmailAddressError::LocalPart),
            ("a(comment)@example.com", EmailAddressError::LocalPart),
            ("Ana <ana@example.com>", EmailAddressError::LocalPart),
            ("a\r\nBcc:x@example.com", EmailAddressError::LocalPart),
            ("zoë@example.com", EmailAddressError::NonAsciiLocalPart),
            ("a@", EmailAddressError::Domain),
            ("a@localhost", EmailAddressError::Domain),
            ("a@[192.0.2.1]", EmailAddressError::Domain),
            ("a@192.0.2.1", EmailAddressError::Domain),
            ("a@example.com.", EmailAddressError::Domain),
            ("a@-example.com", EmailAddressError::Domain),
            ("a@exam_ple.com", EmailAddressError::Domain),
            ("a@example.com(work)", EmailAddressError::Domain),
            ("a@exa\0mple.com", EmailAddressError::Domain),
        ] {
            assert_eq!(normalised(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_those_of_smtp() {
        let local = "l".repeat(64);
        assert!(normalised(&format!("{local}@example.com")).is_ok());
        assert_eq!(normalised(&format!("{local}l@example.com")), Err(EmailAddressError::TooLong));
        let domain = |last: usize| format!("{}.{}.{}.example", "d".repeat(63), "d".repeat(63), "d".repeat(last));
        assert_eq!(local.len() + 1 + domain(53).len(), 254);
        assert!(normalised(&format!("{local}@{}", domain(53))).is_ok());
        assert_eq!(normalised(&format!("{local}@{}", domain(54))), Err(EmailAddressError::TooLong));
        assert_eq!(normalised(&format!("a@{}.example", "d".repeat(64))), Err(EmailAddressError::Domain));
        assert_eq!(normalised(&format!("a@{}", "d.".repeat(50_000))), Err(EmailAddressError::TooLong));
    }

    #[test]
    fn registrable_domains_follow_the_public_suffix_list() {
        for (address, expected) in [
            ("a@mail.example.co.uk", "example.co.uk"),
            ("a@example.com", "example.com"),
            ("a@mail.例子.公司.cn", "xn--fsqu00a.xn--55qx5d.cn"),
            ("a@co.uk", "co.uk"),
        ] {
            assert_eq!(EmailAddress::parse(address).expect("valid").registrable_domain(), expected);
        }
    }

    #[test]
    fn debug_hides_and_json_carries_the_address() {
        let address = EmailAddress::parse("Ana@example.com").expect("valid");
        assert_eq!(format!("{address:?}"), "EmailAddress(…)");
        assert_eq!(address.to_string(), "ana@example.com");
        assert_eq!(serde_json::to_string(&address).expect("json"), "\"ana@example.com\"");
        assert_eq!(serde_json::from_str::<EmailAddress>("\"ANA@example.com\"").expect("address"), address);
        assert!(serde_json::from_str::<EmailAddress>("\"ana\"").is_err());
    }

    proptest! {
        #[test]
        fn normalisation_is_idempotent(text in "[ ]?[A-Za-z0-9+._-]{1,12}@[A-Za-z0-9äßéİ例.-]{1,20}\\.[a-zA-Zé]{2,6}") {
            if let Ok(address) = EmailAddress::parse(&text) {
                prop_assert_eq!(EmailAddress::parse(address.as_str()), Ok(address.clone()));
                prop_assert!(address.as_str().is_ascii());
                prop_assert_eq!(address.as_str().to_ascii_lowercase(), address.as_str());
                prop_assert_eq!(EmailAddress::parse(&text.to_ascii_uppercase()), Ok(address));
            }
        }

        #[test]
        fn no_text_panics_or_yields_controls(text in any::<String>(), domain in any::<String>()) {
            for text in [text.clone(), format!("{text}@example.com"), format!("a@{domain}")] {
                if let Ok(address) = EmailAddress::parse(&text) {
                    prop_assert!(address.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
                    prop_assert!(address.as_str().len() <= MAX_BYTES);
                    prop_assert!(address.domain().ends_with(address.registrable_domain()));
                }
            }
        }
    }
}
