//! Which domains an account accepts for the addresses of its members.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use super::email_address::{self, EmailAddress, EmailAddressError};

static LIST: LazyLock<List> = LazyLock::new(|| List::parse(include_str!("personal_domains.txt")));

/// Whether the address is at a free-mail provider, by its registrable domain: `a@eu.mail.yahoo.co.uk` is.
pub fn is_personal(address: &EmailAddress) -> bool {
    LIST.contains(address.registrable_domain())
}

/// The list file, ready to be asked.
struct List {
    domains: HashSet<&'static str>,
    /// Names that count under every public suffix (`name.*` in the file).
    names: HashSet<&'static str>,
}

impl List {
    fn parse(text: &'static str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (names, domains): (HashSet<_>, HashSet<_>) = lines.partition(|line| line.ends_with(".*"));
        Self { domains, names: names.into_iter().map(|line| line.trim_end_matches(".*")).collect() }
    }

    fn contains(&self, registrable: &str) -> bool {
        // What a registrable domain has before its first dot is the registered name; after it stands the public suffix.
        let name = registrable.split_once('.').map_or(registrable, |(name, _)| name);
        self.domains.contains(registrable) || self.names.contains(name)
    }
}

/// An account's rule about domains. The lists hold domains as [`email_address::normalise_domain`] gives them;
/// [`DomainPolicy::new`] sees to that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainPolicy {
    /// Whether free-mail domains are refused.
    pub refuse_personal: bool,
    /// Free-mail domains accepted all the same.
    pub allowed_personal: Vec<String>,
    /// If not empty, only these domains and what is below them are accepted; a free-mail domain named here is accepted,
    /// too.
    pub allowed: Vec<String>,
}

/// Why an address is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainRefusal {
    /// The account refuses addresses at free-mail providers.
    #[error("addresses at free-mail providers are not accepted")]
    PersonalDomain,
    /// The account accepts only certain domains.
    #[error("the domain of the address is not among the allowed ones")]
    DomainNotAllowed,
}

impl DomainPolicy {
    /// A policy from domains as a person typed them.
    pub fn new(
        refuse_personal: bool,
        allowed_personal: &[String],
        allowed: &[String],
    ) -> Result<Self, EmailAddressError> {
        let normalised = |domains: &[String]| {
            let normalise = |domain: &String| email_address::normalise_domain(domain).map(Cow::into_owned);
            domains.iter().map(normalise).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { refuse_personal, allowed_personal: normalised(allowed_personal)?, allowed: normalised(allowed)? })
    }

    /// Whether the account accepts the address. Where both refusals apply, the one about free mail is given: it says
    /// more.
    pub fn check(&self, address: &EmailAddress) -> Result<(), DomainRefusal> {
        let domain = address.domain();
        if covers(&self.allowed, domain) {
            return Ok(());
        }
        if self.refuse_personal && is_personal(address) && !covers(&self.allowed_personal, domain) {
            return Err(DomainRefusal::PersonalDomain);
        }
        if self.allowed.is_empty() { Ok(()) } else { Err(DomainRefusal::DomainNotAllowed) }
    }
}

/// Whether the domain is one of the list or below one.
fn covers(list: &[String], domain: &str) -> bool {
    list.iter()
        .any(|entry| domain.strip_suffix(entry.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).expect("valid address")
    }

    fn policy(refuse: bool, personal: &[&str], allowed: &[&str]) -> DomainPolicy {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        DomainPolicy::new(refuse, &owned(personal), &owned(allowed)).expect("valid domains")
    }

    #[test]
    fn free_mail_is_known_by_its_registrable_domain() {
        for personal in [
            "a@gmail.com",
            "a@GMAIL.com",
            "a@yahoo.co.jp",
            "a@eu.mail.yahoo.co.uk",
            "a@hotmail.fr",
            "a@ｇｍａｉｌ．com",
        ] {
            assert!(is_personal(&address(personal)), "{personal}");
        }
        for business in
            ["a@gmail.com.example", "a@notgmail.com", "a@yahoo.example.com", "a@live.law", "a@harborandfinch.example"]
        {
            assert!(!is_personal(&address(business)), "{business}");
        }
    }

    #[test]
    fn every_line_of_the_list_is_a_normalised_registrable_domain() {
        let lines =
            include_str!("personal_domains.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut seen = HashSet::new();
        for line in lines {
            assert!(seen.insert(line), "{line} stands twice");
            let domain = line.strip_suffix(".*").map_or(line.to_owned(), |name| format!("{name}.com"));
            assert_eq!(email_address::normalise_domain(&domain).as_deref(), Ok(domain.as_str()));
            assert_eq!(email_address::registrable(&domain), domain, "{line}");
        }
        assert!(seen.len() > 60);
    }

    #[test]
    fn free_mail_is_refused_unless_allowed_by_name() {
        let gmail = address("a@gmail.com");
        assert_eq!(policy(false, &[], &[]).check(&gmail), Ok(()));
        assert_eq!(policy(true, &[], &[]).check(&gmail), Err(DomainRefusal::PersonalDomain));
        assert_eq!(policy(true, &["Gmail.com"], &[]).check(&gmail), Ok(()));
        assert_eq!(policy(true, &[], &["gmail.com"]).check(&gmail), Ok(()));
        assert_eq!(policy(true, &["yahoo.com"], &[]).check(&gmail), Err(DomainRefusal::PersonalDomain));
        assert_eq!(policy(true, &[], &["firm.example"]).check(&gmail), Err(DomainRefusal::PersonalDomain));
        assert_eq!(policy(true, &["gmail.com"], &["firm.example"]).check(&gmail), Err(DomainRefusal::DomainNotAllowed));
    }

    #[test]
    fn allowed_domains_cover_what_is_below_them() {
        let policy = policy(true, &[], &["firm.example", "Müller.example"]);
        for accepted in ["a@firm.example", "a@berlin.firm.example", "a@müller.example"] {
            assert_eq!(policy.check(&address(accepted)), Ok(()), "{accepted}");
        }
        for refused in ["a@lawfirm.example", "a@firm.example.com", "a@example.org"] {
            assert_eq!(policy.check(&address(refused)), Err(DomainRefusal::DomainNotAllowed), "{refused}");
        }
    }

    #[test]
    fn malformed_domains_make_no_policy() {
        assert_eq!(DomainPolicy::new(true, &[], &["firm".to_owned()]), Err(EmailAddressError::Domain));
    }
}
