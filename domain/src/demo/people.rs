//! Who is in the demo accounts. Domains and telephone numbers are of ranges that belong to nobody.

use unicode_normalization::UnicodeNormalization as _;

use crate::permission::SystemRole::{self, Administrator, Auditor, BillingManager, MemberManager, Standard};
use crate::profile::Profile;
use crate::profile::SubscriptionType::{self, Attorney, NonAttorney};

/// How somebody's membership came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Founded the account.
    Owner,
    /// Accepted.
    Active,
    /// Accepted, and is shut out.
    Suspended,
    /// Accepted, and has left.
    Deactivated,
    /// Has the mail of an invitation.
    Invited,
    /// Invited a moment ago: the mail is still to be sent.
    JustInvited,
    /// Invited without a mail.
    NotSent,
    /// Invited, then shut out.
    SuspendedInvitee,
    /// Did not answer in time.
    Lapsed,
    /// No mail server took the mail.
    Undeliverable,
    /// Said no; the invitation stays listed.
    Declined,
    /// Invited by mistake; the invitation stays listed.
    Revoked,
}

use Fate::{
    Active, Deactivated, Declined, Invited, JustInvited, Lapsed, NotSent, Owner, Revoked, Suspended, SuspendedInvitee,
    Undeliverable,
};

/// Where somebody works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Office {
    time_zone: &'static str,
    address: &'static str,
    city: &'static str,
    state: &'static str,
    zip: &'static str,
    country: &'static str,
    /// What telephone numbers begin with; four digits follow.
    phone: &'static str,
}

const NEW_YORK: &Office = &Office {
    time_zone: "America/New_York",
    address: "120 Pearl Street, Floor 14",
    city: "New York",
    state: "NY",
    zip: "10005",
    country: "US",
    phone: "+1212555",
};

const BOSTON: &Office =
    &Office { address: "48 Harbor Walk", city: "Boston", state: "MA", zip: "02210", phone: "+1617555", ..*NEW_YORK };

const LONDON: &Office = &Office {
    time_zone: "Europe/London",
    address: "9 Temple Lane",
    city: "London",
    state: "England",
    zip: "EC4Y 7AA",
    country: "GB",
    phone: "+44207946",
};

/// First name, last name, job title, subscription, office, role, fate.
pub(super) type Person =
    (&'static str, &'static str, &'static str, SubscriptionType, &'static Office, SystemRole, Fate);

/// The law firm: 40 people, and two whose invitations have ended.
#[rustfmt::skip]
pub(super) const FIRM: &[Person] = &[
    ("Eleanor", "Harbor", "Managing partner", Attorney, NEW_YORK, Administrator, Owner),
    ("Marcus", "Oyelaran", "Director of operations", NonAttorney, NEW_YORK, Administrator, Active),
    ("Ingrid", "Söderberg", "Head of people", NonAttorney, BOSTON, MemberManager, Active),
    ("Daniel", "Okafor", "Office manager", NonAttorney, LONDON, MemberManager, Active),
    ("Ruth", "Castellano", "Controller", NonAttorney, NEW_YORK, BillingManager, Active),
    ("Priya", "Raghavan", "Compliance officer", NonAttorney, NEW_YORK, Auditor, Active),
    ("Samuel", "Whitlock", "Senior partner", Attorney, BOSTON, Standard, Active),
    ("Beatriz", "Ibáñez", "Partner, litigation", Attorney, NEW_YORK, Standard, Active),
    ("Conor", "Delaney", "Partner, real estate", Attorney, BOSTON, Standard, Active),
    ("Hannah", "Feldman", "Partner, tax", Attorney, NEW_YORK, Standard, Active),
    ("Oliver", "Pemberton", "Partner, arbitration", Attorney, LONDON, Standard, Active),
    ("Mei-Ling", "Tan", "Senior associate", Attorney, NEW_YORK, Standard, Active),
    ("Jamal", "Whitfield", "Senior associate", Attorney, NEW_YORK, Standard, Active),
    ("Sofia", "Marchetti", "Senior associate", Attorney, BOSTON, Standard, Active),
    ("Tomasz", "Zielinski", "Associate", Attorney, LONDON, Standard, Active),
    ("Aisha", "Rahman", "Associate", Attorney, NEW_YORK, Standard, Active),
    ("Zoë", "Lindqvist", "Associate", Attorney, BOSTON, Standard, Active),
    ("Ethan", "Kowalczyk", "Associate", Attorney, NEW_YORK, Standard, Active),
    ("Grace", "O'Sullivan", "Associate", Attorney, LONDON, Standard, Active),
    ("Victor", "Almeida", "Of counsel", Attorney, BOSTON, Standard, Active),
    ("Naomi", "Brandt", "Paralegal", NonAttorney, NEW_YORK, Standard, Active),
    ("Luis", "Ferreira", "Paralegal", NonAttorney, NEW_YORK, Standard, Active),
    ("Charlotte", "Ashby", "Paralegal", NonAttorney, LONDON, Standard, Active),
    ("Andre", "Baptiste", "Legal assistant", NonAttorney, BOSTON, Standard, Active),
    ("Yuki", "Tanabe", "Librarian", NonAttorney, NEW_YORK, Standard, Active),
    ("Philip", "Garrison", "Associate", Attorney, NEW_YORK, Standard, Suspended),
    ("Lena", "Vogel", "Legal assistant", NonAttorney, LONDON, BillingManager, Suspended),
    ("George", "Abernathy", "Partner, retired", Attorney, BOSTON, Standard, Deactivated),
    ("Dolores", "Quintana", "Receptionist", NonAttorney, NEW_YORK, Standard, Deactivated),
    ("Nadia", "Petrov", "Associate", Attorney, NEW_YORK, Standard, Invited),
    ("Isaac", "Thornton", "Accounts clerk", NonAttorney, BOSTON, BillingManager, Invited),
    ("Camille", "Rousseau", "Associate", Attorney, LONDON, Standard, JustInvited),
    ("Diego", "Navarro", "Paralegal", NonAttorney, NEW_YORK, Standard, JustInvited),
    ("Fiona", "MacLeod", "Recruiter", NonAttorney, BOSTON, MemberManager, JustInvited),
    ("Rajiv", "Menon", "Summer associate", NonAttorney, NEW_YORK, Standard, NotSent),
    ("Abigail", "Stone", "Summer associate", NonAttorney, BOSTON, Standard, NotSent),
    ("Leonard", "Cho", "Contract attorney", Attorney, NEW_YORK, Standard, SuspendedInvitee),
    ("Helga", "Brunner", "Foreign counsel", Attorney, LONDON, Standard, Lapsed),
    ("Terrence", "Boyd", "Investigator", NonAttorney, NEW_YORK, Standard, Lapsed),
    ("Quentin", "Marsh", "Expert witness", NonAttorney, BOSTON, Standard, Undeliverable),
    ("Simone", "Archer", "Associate", Attorney, NEW_YORK, Standard, Declined),
    ("Walter", "Finn", "Consultant", NonAttorney, BOSTON, Auditor, Revoked),
];

/// The second account's own people; the firm's owner comes in besides.
#[rustfmt::skip]
pub(super) const CONSULTING: &[Person] = &[
    ("Jonathan", "Finch", "Principal", NonAttorney, LONDON, Administrator, Owner),
    ("Margaret", "Osei", "Analyst", NonAttorney, LONDON, Standard, Active),
];

/// Somebody's address at a firm's domain: `first.last@domain`, without accents. Nothing can be delivered to `.invalid`.
pub(super) fn address(person: &Person, domain: &str) -> String {
    let (first, last, .., fate) = *person;
    let plain = |name: &str| -> String {
        name.nfd().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
    };
    let top = if fate == Undeliverable { "invalid" } else { "example" };
    format!("{}.{}@{domain}.{top}", plain(first), plain(last))
}

/// What the account knows about the person at `index` of its list.
pub(super) fn profile(person: &Person, index: usize) -> Profile {
    let (first, last, title, subscription, office, ..) = *person;
    let some = |text: &str| Some(text.to_owned());
    Profile {
        first_name: some(first),
        last_name: some(last),
        initials: Some(first.chars().chain(last.chars()).filter(|letter| letter.is_uppercase()).collect()),
        time_zone: some(office.time_zone),
        address: some(office.address),
        city: some(office.city),
        state: some(office.state),
        zip: some(office.zip),
        country: some(office.country),
        phone: Some(format!("{}{:04}", office.phone, 100 + index)),
        job_title: some(title),
        subscription_type: Some(subscription),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infra::email_address::EmailAddress;
    use crate::profile;

    #[test]
    fn the_firm_has_forty_people_of_every_kind() {
        let of = |fate: Fate| FIRM.iter().filter(|person| person.6 == fate).count();
        assert_eq!(FIRM.len() - of(Declined) - of(Revoked), 40);
        assert_eq!(of(Owner), 1);
        let all = [
            Active,
            Suspended,
            Deactivated,
            Invited,
            JustInvited,
            NotSent,
            SuspendedInvitee,
            Lapsed,
            Undeliverable,
            Declined,
            Revoked,
        ];
        for fate in all {
            assert!(of(fate) > 0, "{fate:?}");
        }
        for role in SystemRole::ALL {
            assert!(FIRM.iter().any(|person| person.5 == role && matches!(person.6, Active | Owner)), "{role:?}");
        }
    }

    #[test]
    fn everything_is_as_validation_would_leave_it() {
        for (index, person) in FIRM.iter().chain(CONSULTING).enumerate() {
            let address = address(person, "harborfinch");
            assert_eq!(EmailAddress::parse(&address).expect("an address").as_str(), address);
            let written = super::profile(person, index);
            let check = |value: &Option<String>, parse: fn(&str) -> Result<String, profile::FieldFault>| {
                let value = value.as_deref().expect("all fields are filled");
                assert_eq!(parse(value).as_deref(), Ok(value));
            };
            check(&written.first_name, profile::person_name);
            check(&written.last_name, profile::person_name);
            check(&written.initials, profile::initials);
            check(&written.time_zone, profile::time_zone);
            check(&written.address, profile::address);
            check(&written.city, profile::city);
            check(&written.state, profile::state);
            check(&written.zip, profile::zip);
            check(&written.country, profile::country);
            check(&written.phone, profile::phone);
            check(&written.job_title, profile::job_title);
        }
    }
}
