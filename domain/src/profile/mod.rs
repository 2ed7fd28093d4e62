//! What an account knows about a member: each field with the one function that makes a typed text into a stored value.

mod fault;
pub(crate) mod text;

use std::fmt;

use jiff::tz::TimeZoneDatabase;

pub use fault::{FieldFault, UnknownFault};
pub(crate) use text::{is_disturbing, line};

/// Characters of a first or last name.
pub const NAME_CHARS: usize = 100;
/// Most characters of a file's name.
pub const FILE_NAME_CHARS: usize = 255;
/// Characters of initials.
pub const INITIALS_CHARS: usize = 8;
/// Characters of a street address.
pub const ADDRESS_CHARS: usize = 200;
/// Characters of a city, of a state and of a job title.
pub const TITLE_CHARS: usize = 100;
/// Characters of a postal code.
pub const ZIP_CHARS: usize = 20;
/// Characters of the message in an invitation.
pub const MESSAGE_CHARS: usize = 500;

/// The fields of a member's profile, validated; the columns of table `member` with the same names. `Debug` hides them.
#[derive(Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Profile {
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Initials, without periods and spaces.
    pub initials: Option<String>,
    /// Name in the IANA time zone database.
    pub time_zone: Option<String>,
    /// Street address, on one line.
    pub address: Option<String>,
    /// City.
    pub city: Option<String>,
    /// State or province.
    pub state: Option<String>,
    /// Postal code.
    pub zip: Option<String>,
    /// ISO 3166-1 alpha-2 code, in upper case.
    pub country: Option<String>,
    /// E.164: `+` and 8 to 15 digits.
    pub phone: Option<String>,
    /// Job title.
    pub job_title: Option<String>,
    /// What the person's subscription covers.
    pub subscription_type: Option<SubscriptionType>,
}

impl fmt::Debug for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Profile(…)")
    }
}

/// What a person's subscription covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SubscriptionType {
    /// The person practises law.
    Attorney,
    /// The person does not.
    NonAttorney,
}

impl SubscriptionType {
    /// As the database and the API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attorney => "ATTORNEY",
            Self::NonAttorney => "NON_ATTORNEY",
        }
    }

    /// As files made here say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Attorney => "Attorney",
            Self::NonAttorney => "Non-attorney",
        }
    }

    /// As a file says it: `Attorney` or `Non-attorney`, in any letter case and with any or no hyphen.
    pub fn parse(text: &str) -> Result<Self, FieldFault> {
        let word: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        match word.as_str() {
            "attorney" => Ok(Self::Attorney),
            "nonattorney" => Ok(Self::NonAttorney),
            "" if text.trim().is_empty() => Err(FieldFault::Required),
            _ => Err(FieldFault::InvalidSubscriptionType),
        }
    }
}

/// A field that may be left empty: nothing but white space is no value.
pub fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, FieldFault>) -> Result<Option<T>, FieldFault> {
    if text.trim().is_empty() { Ok(None) } else { parse(text).map(Some) }
}

/// The name of a file: 1 to 255 characters on one line.
pub fn file_name(text: &str) -> Result<String, FieldFault> {
    text::line(text, FILE_NAME_CHARS)
}

/// A first or last name: 1 to [`NAME_CHARS`] characters on one line. A formula is a name like any other; whoever writes
/// it into a file for a spreadsheet makes it harmless there.
pub fn person_name(text: &str) -> Result<String, FieldFault> {
    text::line(text, NAME_CHARS)
}

/// Initials: at most [`INITIALS_CHARS`] characters, no periods and no white space.
pub fn initials(text: &str) -> Result<String, FieldFault> {
    let initials = text::line(text, usize::MAX)?;
    if initials.contains(|c: char| c == '.' || c.is_whitespace()) {
        return Err(FieldFault::InvalidInitials);
    }
    text::at_most(initials, INITIALS_CHARS)
}

/// A street address on one line.
pub fn address(text: &str) -> Result<String, FieldFault> {
    text::line(text, ADDRESS_CHARS)
}

/// A city.
pub fn city(text: &str) -> Result<String, FieldFault> {
    text::line(text, TITLE_CHARS)
}

/// A state or province.
pub fn state(text: &str) -> Result<String, FieldFault> {
    text::line(text, TITLE_CHARS)
}

/// A postal code.
pub fn zip(text: &str) -> Result<String, FieldFault> {
    text::line(text, ZIP_CHARS)
}

/// A job title.
pub fn job_title(text: &str) -> Result<String, FieldFault> {
    text::line(text, TITLE_CHARS)
}

/// The name of a role, a group or a unit: 1 to [`TITLE_CHARS`] characters on one line.
pub fn title(text: &str) -> Result<String, FieldFault> {
    text::line(text, TITLE_CHARS)
}

/// The message in an invitation: plain text of at most [`MESSAGE_CHARS`] characters; line breaks are kept, as `\n`.
pub fn message(text: &str) -> Result<String, FieldFault> {
    text::paragraphs(text, MESSAGE_CHARS)
}

/// A time zone by its name in the IANA database that is compiled in, in the database's spelling.
pub fn time_zone(text: &str) -> Result<String, FieldFault> {
    let name = text.trim();
    if name.is_empty() {
        return Err(FieldFault::Required);
    }
    let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| FieldFault::InvalidTimeZone)?;
    zone.iana_name().map(str::to_owned).ok_or(FieldFault::InvalidTimeZone)
}

/// A country by its ISO 3166-1 alpha-2 code, in upper case.
pub fn country(text: &str) -> Result<String, FieldFault> {
    let code = text.trim().to_ascii_uppercase();
    if code.is_empty() {
        return Err(FieldFault::Required);
    }
    rust_iso3166::from_alpha2(&code).map(|country| country.alpha2.to_owned()).ok_or(FieldFault::InvalidCountry)
}

/// Whether a country has a state or province of this name or code (ISO 3166-2, with or without the country). Where none are known, any
/// may be.
pub fn has_state(country: &str, state: &str) -> bool {
    let Some(country) = rust_iso3166::from_alpha2(country) else { return true };
    let known = country.subdivisions().unwrap_or_default();
    let state = state.to_lowercase();
    known.is_empty()
        || known.iter().any(|one| {
            let code = one.code.to_lowercase();
            one.name.to_lowercase() == state
                || code == state
                || code.split_once('-').is_some_and(|(_, own)| own == state)
        })
}

/// A telephone number in E.164: `+`, a country code (which never begins with 0), 8 to 15 digits in all. Spaces,
/// hyphens, parentheses and dots are dropped, but `(0)` is refused: the zero is dialled only within the country, so
/// that the number would reach nobody.
pub fn phone(text: &str) -> Result<String, FieldFault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(FieldFault::Required);
    }
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let is_filler = |c: char| matches!(c, '-' | '(' | ')' | '.' | '\u{2010}'..='\u{2015}');
    let number: String = compact.chars().filter(|c| !is_filler(*c)).collect();
    let digits = number.strip_prefix('+').ok_or(FieldFault::InvalidPhone)?;
    let valid = (8..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
        && !compact.contains("(0)");
    if valid { Ok(number) } else { Err(FieldFault::InvalidPhone) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_one_line_of_text() {
        assert_eq!(person_name("  Zoe\u{308} \u{a0}").as_deref(), Ok("Zoë"));
        assert_eq!(person_name("=HYPERLINK(\"x\")").as_deref(), Ok("=HYPERLINK(\"x\")"));
        assert_eq!(person_name(" \t\n"), Err(FieldFault::Required));
        assert_eq!(person_name("Ana\nBcc: x"), Err(FieldFault::InvalidCharacters));
        assert_eq!(person_name("\u{202e}anA"), Err(FieldFault::InvalidCharacters));
        assert_eq!(person_name(&"é".repeat(100)).as_deref(), Ok("é".repeat(100).as_str()));
        assert_eq!(person_name(&"é".repeat(101)), Err(FieldFault::TooLong));
    }

    #[test]
    fn initials_have_no_periods_or_spaces() {
        assert_eq!(initials(" ÁN ").as_deref(), Ok("ÁN"));
        assert_eq!(initials("A. B."), Err(FieldFault::InvalidInitials));
        assert_eq!(initials("A\u{a0}B"), Err(FieldFault::InvalidInitials));
        assert_eq!(initials("ABCDEFGHI"), Err(FieldFault::TooLong));
        assert_eq!(optional("  ", initials), Ok(None));
    }

    #[test]
    fn time_zones_take_the_spelling_of_the_database() {
        assert_eq!(time_zone(" america/new_york ").as_deref(), Ok("America/New_York"));
        assert_eq!(time_zone("UTC").as_deref(), Ok("UTC"));
        for unknown in [
            "Mars/Olympus_Mons",
            "Etc/Unknown",
            "localtime",
            "+02:00",
            "EST5EDT4",
            "../etc/passwd",
            "America/New\0York",
        ] {
            assert_eq!(time_zone(unknown), Err(FieldFault::InvalidTimeZone), "{unknown:?}");
        }
    }

    #[test]
    fn countries_are_alpha_2_codes() {
        assert_eq!(country(" us ").as_deref(), Ok("US"));
        for unknown in ["Atlantis", "USA", "XX", "840", "ﬁ"] {
            assert_eq!(country(unknown), Err(FieldFault::InvalidCountry), "{unknown}");
        }
    }

    #[test]
    fn states_are_found_by_name_and_code() {
        for (country, state) in [("US", "Illinois"), ("US", "il"), ("US", "US-IL"), ("CA", "Ontario"), ("DE", "Bayern")]
        {
            assert!(has_state(country, state), "{state} of {country}");
        }
        assert!(!has_state("US", "Ontario") && !has_state("CA", "IL"));
        assert!(has_state("XX", "Anywhere"), "of an unknown country nothing is known");
    }

    #[test]
    fn phones_are_e164() {
        assert_eq!(phone(" +1 (212) 555-01.00 ").as_deref(), Ok("+12125550100"));
        assert_eq!(phone("+46\u{a0}8\u{2011}505 82 50").as_deref(), Ok("+4685058250"));
        for malformed in [
            "call me",
            "212 555 0100",
            "0044 20 7946 0000",
            "+1234567",
            "+1234567890123456",
            "+0123456789",
            "+44 (0)20 7946 0000",
            "+44 ( 0 )20 7946 0000",
            "+1 212 555 0100 x5",
            "++12125550100",
            "+١٢٣٤٥٦٧٨",
        ] {
            assert_eq!(phone(malformed), Err(FieldFault::InvalidPhone), "{malformed}");
        }
        assert_eq!(phone(""), Err(FieldFault::Required));
    }

    #[test]
    fn subscription_types_are_read_leniently() {
        for word in ["Attorney", " attorney ", "ATTORNEY"] {
            assert_eq!(SubscriptionType::parse(word), Ok(SubscriptionType::Attorney));
        }
        for word in ["Non-attorney", "NON_ATTORNEY", "non attorney", "Non\u{2011}Attorney"] {
            assert_eq!(SubscriptionType::parse(word), Ok(SubscriptionType::NonAttorney));
        }
        assert_eq!(SubscriptionType::parse("Lawyer"), Err(FieldFault::InvalidSubscriptionType));
        assert_eq!(SubscriptionType::parse("-"), Err(FieldFault::InvalidSubscriptionType));
        assert_eq!(SubscriptionType::parse(" "), Err(FieldFault::Required));
        assert_eq!(serde_json::to_string(&SubscriptionType::NonAttorney).expect("json"), "\"NON_ATTORNEY\"");
    }

    #[test]
    fn messages_keep_their_lines() {
        assert_eq!(message(" Hello\r\nAna\rbye\n").as_deref(), Ok("Hello\nAna\nbye"));
        assert_eq!(message("a\tb"), Err(FieldFault::InvalidCharacters));
        assert_eq!(message(&"x".repeat(501)), Err(FieldFault::TooLong));
    }

    #[test]
    fn debug_hides_the_person() {
        let profile = Profile { first_name: Some("Ana".to_owned()), ..Profile::default() };
        assert_eq!(format!("{profile:?}"), "Profile(…)");
    }

    proptest! {
        #[test]
        fn what_was_accepted_is_accepted_again_unchanged(text in any::<String>()) {
            for parse in [person_name, initials, address, zip, message, time_zone, country, phone] {
                if let Ok(value) = parse(&text) {
                    prop_assert_eq!(parse(&value), Ok(value));
                }
            }
        }

        #[test]
        fn punctuation_does_not_change_a_phone(pairs in prop::collection::vec(("[1-9]", "[ .()-]{0,2}"), 8..16)) {
            let number: String = pairs.iter().map(|(digit, _)| digit.as_str()).collect();
            let spread: String = pairs.iter().flat_map(|(digit, filler)| [digit.as_str(), filler.as_str()]).collect();
            prop_assert_eq!(phone(&format!("+{spread}")), Ok(format!("+{number}")));
        }
    }
}
