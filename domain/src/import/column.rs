//! The columns of an import and how a header names them.

use std::fmt;
use std::str::FromStr;

use crate::profile;

/// A column that is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// The address the person signs in with. Required.
    Email,
    /// First name. Required.
    FirstName,
    /// Last name. Required.
    LastName,
    /// Initials.
    Initials,
    /// Time zone.
    TimeZone,
    /// Street address.
    Address,
    /// City.
    City,
    /// State or province.
    State,
    /// Postal code.
    Zip,
    /// Country.
    Country,
    /// Telephone number.
    Phone,
    /// `Attorney` or `Non-attorney`. Required.
    SubscriptionType,
    /// Job title.
    JobTitle,
    /// Names of roles, separated by `|`.
    Roles,
    /// Names of groups, separated by `|`.
    Groups,
}

impl Column {
    /// All columns, in the order of the template.
    pub const ALL: [Self; 15] = [
        Self::Email,
        Self::FirstName,
        Self::LastName,
        Self::Initials,
        Self::TimeZone,
        Self::Address,
        Self::City,
        Self::State,
        Self::Zip,
        Self::Country,
        Self::Phone,
        Self::SubscriptionType,
        Self::JobTitle,
        Self::Roles,
        Self::Groups,
    ];

    /// The columns that a file must have, with a value in each row.
    pub const REQUIRED: [Self; 4] = [Self::Email, Self::FirstName, Self::LastName, Self::SubscriptionType];

    /// The name in the template, like `first_name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
            Self::Initials => "initials",
            Self::TimeZone => "time_zone",
            Self::Address => "address",
            Self::City => "city",
            Self::State => "state",
            Self::Zip => "zip",
            Self::Country => "country",
            Self::Phone => "phone",
            Self::SubscriptionType => "subscription_type",
            Self::JobTitle => "job_title",
            Self::Roles => "roles",
            Self::Groups => "groups",
        }
    }

    /// Whether it holds several names.
    pub fn is_list(self) -> bool {
        matches!(self, Self::Roles | Self::Groups)
    }

    /// The most characters a value may have, where the length is what limits it.
    pub fn max_chars(self) -> Option<usize> {
        match self {
            Self::FirstName | Self::LastName => Some(profile::NAME_CHARS),
            Self::Initials => Some(profile::INITIALS_CHARS),
            Self::Address => Some(profile::ADDRESS_CHARS),
            Self::City | Self::State | Self::JobTitle => Some(profile::TITLE_CHARS),
            Self::Zip => Some(profile::ZIP_CHARS),
            Self::Email
            | Self::TimeZone
            | Self::Country
            | Self::Phone
            | Self::SubscriptionType
            | Self::Roles
            | Self::Groups => None,
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name of a header that is none of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a column that is imported")]
pub struct UnknownColumn;

impl FromStr for Column {
    type Err = UnknownColumn;

    /// Reads a name of a header: letter case, white space, `_`, `-` and the `*` that marks required columns do not
    /// matter.
    fn from_str(name: &str) -> Result<Self, UnknownColumn> {
        let name = bare(name);
        Self::ALL.into_iter().find(|column| bare(column.name()) == name).ok_or(UnknownColumn)
    }
}

/// The columns that an error report adds.
pub const REPORT_COLUMNS: [&str; 3] = ["error_code", "error_column", "error"];

/// What a name of a header stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is imported.
    Imported(Column),
    /// An earlier error report added it; ignored.
    Report,
    /// Nothing that is known; ignored, with a warning.
    Unknown,
}

impl Meaning {
    /// The meaning of a name, as lenient as [`Column::from_str`].
    pub fn of(name: &str) -> Self {
        match name.parse() {
            Ok(column) => Self::Imported(column),
            Err(_) if REPORT_COLUMNS.iter().any(|report| bare(report) == bare(name)) => Self::Report,
            Err(_) => Self::Unknown,
        }
    }
}

/// A name of a header without what does not matter in it.
fn bare(name: &str) -> String {
    let matters = |c: &char| !c.is_whitespace() && !matches!(c, '_' | '-' | '*' | '\u{feff}');
    name.chars().filter(matters).flat_map(char::to_lowercase).collect()
}

/// What separates the cells of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Delimiter {
    /// `,`
    Comma,
    /// `;`, which spreadsheets write where the comma separates decimals.
    Semicolon,
    /// A tabulator.
    Tab,
}

impl Delimiter {
    /// All delimiters; the first one wins where a header fits several.
    pub const ALL: [Self; 3] = [Self::Comma, Self::Semicolon, Self::Tab];

    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Comma => "COMMA",
            Self::Semicolon => "SEMICOLON",
            Self::Tab => "TAB",
        }
    }

    /// What people call several of them.
    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::Comma => "commas",
            Self::Semicolon => "semicolons",
            Self::Tab => "tabulators",
        }
    }

    /// The byte in the file.
    pub fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }
}

/// What ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, sqlx::Type)]
#[serde(rename_all = "UPPERCASE")]
#[sqlx(type_name = "text", rename_all = "UPPERCASE")]
pub enum LineEnd {
    /// A line feed.
    Lf,
    /// A carriage return and a line feed.
    CrLf,
    /// A carriage return.
    Cr,
}

impl LineEnd {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Lf, Self::CrLf, Self::Cr];

    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lf => "LF",
            Self::CrLf => "CRLF",
            Self::Cr => "CR",
        }
    }
}

/// The header of a file: its names as they stand there, and what they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    names: Vec<String>,
    meanings: Vec<Meaning>,
    delimiter: Delimiter,
    /// Where each column of [`Column::ALL`] stands.
    places: [Option<usize>; Column::ALL.len()],
}

impl Header {
    /// Reads the names of a header. Unnamed cells at the end are dropped: spreadsheets add them. Fails on a column that
    /// stands twice, or if required columns are missing (all are named).
    pub(super) fn new(mut names: Vec<String>, delimiter: Delimiter) -> Result<Self, HeaderFault> {
        while names.last().is_some_and(|name| name.trim().is_empty()) {
            names.pop();
        }
        let meanings: Vec<Meaning> = names.iter().map(|name| Meaning::of(name)).collect();
        let mut places = [None; Column::ALL.len()];
        for (place, meaning) in meanings.iter().enumerate() {
            if let Meaning::Imported(column) = meaning
                && places[*column as usize].replace(place).is_some()
            {
                return Err(HeaderFault::Duplicate(*column));
            }
        }
        let missing: Vec<Column> =
            Column::REQUIRED.into_iter().filter(|column| places[*column as usize].is_none()).collect();
        if !missing.is_empty() {
            return Err(HeaderFault::Missing(missing));
        }
        Ok(Self { names, meanings, delimiter, places })
    }

    /// The names as the file has them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What each of [`Header::names`] means.
    pub fn meanings(&self) -> &[Meaning] {
        &self.meanings
    }

    /// What separates the cells.
    pub fn delimiter(&self) -> Delimiter {
        self.delimiter
    }

    /// The position of a column, from 0.
    pub fn place(&self, column: Column) -> Option<usize> {
        self.places[column as usize]
    }

    /// Whether the file has the column: an absent one leaves what is stored, an empty cell of a present one clears it.
    pub fn has(&self, column: Column) -> bool {
        self.place(column).is_some()
    }

    /// The names that are not imported, as a warning for the uploader; unnamed columns are left out.
    pub fn unknown_names(&self) -> impl Iterator<Item = &str> {
        unknown(&self.names)
    }
}

/// Of the names of a header, those that are no columns; unnamed ones are left out.
pub(super) fn unknown(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(|name| name.trim()).filter(|name| !name.is_empty() && Meaning::of(name) == Meaning::Unknown)
}

/// Why a header cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Duplicate(Column),
    Missing(Vec<Column>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn columns_stand_in_the_order_of_their_places() {
        for (index, column) in Column::ALL.into_iter().enumerate() {
            assert_eq!(column as usize, index);
            assert_eq!(column.name().parse(), Ok(column));
            assert_eq!(serde_json::to_string(&column).expect("json"), format!("\"{column}\""));
        }
    }

    #[test]
    fn names_are_read_leniently() {
        for name in ["first_name", " First Name* ", "FIRST-NAME", "firstname", "\u{feff}First_Name"] {
            assert_eq!(Meaning::of(name), Meaning::Imported(Column::FirstName), "{name}");
        }
        assert_eq!(Meaning::of("Error Code"), Meaning::Report);
        assert_eq!(Meaning::of("Note"), Meaning::Unknown);
    }

    #[test]
    fn a_header_names_what_is_missing_or_twice() {
        let missing = Header::new(names("email,Last Name"), Delimiter::Comma);
        assert_eq!(missing, Err(HeaderFault::Missing(vec![Column::FirstName, Column::SubscriptionType])));
        let duplicate = Header::new(names("email,first_name,last_name,subscription_type,E-Mail"), Delimiter::Comma);
        assert_eq!(duplicate, Err(HeaderFault::Duplicate(Column::Email)));
    }

    #[test]
    fn unknown_names_are_told_and_trailing_empty_ones_dropped() {
        let header =
            Header::new(names("Note,email,,first_name,last_name,subscription_type,error,, "), Delimiter::Comma)
                .expect("header");
        assert_eq!(header.names().len(), 7);
        assert_eq!(header.unknown_names().collect::<Vec<_>>(), ["Note"]);
        assert_eq!(header.place(Column::FirstName), Some(3));
        assert!(!header.has(Column::Groups));
    }
}
