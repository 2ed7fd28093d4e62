//! Why an import ends early.

use std::fmt;
use std::str::FromStr;

use super::column::Delimiter;
use super::file::FileFault;
use super::shortage::Shortage;
use crate::profile::is_disturbing;

/// Names of a header that a sentence quotes.
const QUOTED: usize = 10;
/// Characters of each.
const QUOTED_CHARS: usize = 40;

macro_rules! codes {
    ($($name:ident $code:literal $sentence:literal)*) => {
        /// Why an import ended early: a stable code for programs, and a sentence for people that says what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FailureCode { $(#[doc = $sentence] $name,)* }

        impl FailureCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code for programs, as stored.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The sentence for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

/// The one list of why an import ends early: hands `Name "CODE" "sentence"` rows to a macro, so that the API's enum cannot differ
/// from it.
#[macro_export]
macro_rules! with_import_failures {
    ($macro:ident) => {
        $macro! {
            NotText "NOT_TEXT" "This is no text but a spreadsheet's own format or something else; save it as \"CSV UTF-8\" and upload that."
            InvalidEncoding "INVALID_ENCODING" "The names of the columns are not in the encoding of the file; save it again as \"CSV UTF-8\"."
            EmptyFile "EMPTY_FILE" "The file is empty; put the names of the columns into the first row and a person into each other row."
            MalformedHeader "MALFORMED_HEADER" "The first row must hold the names of the columns, and nothing else."
            MissingColumn "MISSING_COLUMN" "Add the column to the header."
            DuplicateColumn "DUPLICATE_COLUMN" "The header has the column twice; remove one of them."
            TooManyRows "TOO_MANY_ROWS" "The file has too many rows; split it into several."
            NotPermitted "NOT_PERMITTED"
                "Whoever started the import may not import any more. The rows before stay; have somebody who may import the rest."
            DefaultsGone "DEFAULTS_GONE"
                "A role or group that everybody was to be given is archived by now. The rows before stay; import the rest with others."
            RowsRejected "ROWS_REJECTED"
                "Some rows have faults, so no row was imported. Mend them and upload the file again, with all its rows."
            SeatShortage "SEAT_SHORTAGE" "There are too few free licences for the file, so no row was imported; free or add some, then upload the file again."
            AccountReadOnly "ACCOUNT_READ_ONLY" "The account is cancelled and can only be read. The rows before stay."
            FileLost "FILE_LOST" "The uploaded file is no longer there. Upload it again."
            Abandoned "ABANDONED"
                "The import could not go on and was given up. The rows before stay; upload the file again for the rest."
        }
    };
}

with_import_failures!(codes);

/// A text that is none of the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a code of a failure")]
pub struct UnknownFailure;

impl FromStr for FailureCode {
    type Err = UnknownFailure;

    fn from_str(code: &str) -> Result<Self, UnknownFailure> {
        Self::ALL.iter().copied().find(|failure| failure.as_str() == code).ok_or(UnknownFailure)
    }
}

/// Why an import ended early. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of the file can be imported; with the row at which that was found.
    File(FileFault, Option<u32>),
    /// Whoever started it may not import any more.
    NotPermitted,
    /// What everybody was to be given is no longer there.
    DefaultsGone,
    /// All rows were to take effect or none, and so many have faults.
    RowsRejected(i32),
    /// All seats were to be there beforehand.
    SeatShortage {
        /// Seats that the file needs.
        required: i32,
        /// Those that were not free.
        shortage: Shortage,
    },
    /// The account was cancelled.
    AccountReadOnly,
    /// The file is gone.
    FileLost,
    /// It was given up, by the worker after its last try or by an operator.
    Abandoned,
}

impl Failure {
    /// The code for programs.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::File(fault, _) => fault.code(),
            Self::NotPermitted => FailureCode::NotPermitted,
            Self::DefaultsGone => FailureCode::DefaultsGone,
            Self::RowsRejected(_) => FailureCode::RowsRejected,
            Self::SeatShortage { .. } => FailureCode::SeatShortage,
            Self::AccountReadOnly => FailureCode::AccountReadOnly,
            Self::FileLost => FailureCode::FileLost,
            Self::Abandoned => FailureCode::Abandoned,
        }
    }
}

impl Failure {
    /// The row of the file at which it was found.
    pub fn row(&self) -> Option<i32> {
        match self {
            Self::File(_, row) => row.and_then(|row| i32::try_from(row).ok()),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(fault, Some(row)) => write!(f, "Row {row}: {fault}"),
            Self::File(fault, None) => fault.fmt(f),
            Self::RowsRejected(rows) => write!(f, "{} Rows with faults: {rows}.", self.code().sentence()),
            Self::SeatShortage { required, shortage } => {
                write!(f, "The file needs {required} licences. {shortage} No row was imported.")
            }
            other => f.write_str(other.code().sentence()),
        }
    }
}

/// What was taken for the header, where its names are what is wrong: said when the sentence is read, because the names in the file go
/// with it.
pub(super) fn told_of_header(code: FailureCode, delimiter: Delimiter, unknown: &[String]) -> Option<String> {
    if !matches!(code, FailureCode::MissingColumn | FailureCode::DuplicateColumn) {
        return None;
    }
    let read = format!("The row was read as separated by {}.", delimiter.plural());
    let quoted: Vec<String> = unknown.iter().take(QUOTED).map(|name| quoted(name)).collect();
    let names = quoted.join(", ");
    Some(match (quoted.is_empty(), unknown.len() - quoted.len()) {
        (true, _) => read,
        (false, 0) => format!("{read} Names in it that are not known: {names}."),
        (false, more) => format!("{read} Names in it that are not known: {names} and {more} more."),
    })
}

/// A name of a file within a sentence: short, and without anything that acts on the text around it.
fn quoted(name: &str) -> String {
    let harmless = |c: char| match c {
        '"' => '\'',
        c if is_disturbing(c) => '\u{fffd}',
        c => c,
    };
    let mut chars = name.chars().map(harmless);
    let text: String = chars.by_ref().take(QUOTED_CHARS).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("\"{text}{rest}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        told_of_header(FailureCode::MissingColumn, Delimiter::Semicolon, &names).expect("it is about names")
    }

    #[test]
    fn what_was_taken_for_the_header_is_told() {
        assert_eq!(told(&[]), "The row was read as separated by semicolons.");
        assert_eq!(
            told(&["Surname", "Kind"]),
            "The row was read as separated by semicolons. Names in it that are not known: \"Surname\", \"Kind\"."
        );
        assert_eq!(told_of_header(FailureCode::MalformedHeader, Delimiter::Comma, &[]), None);
    }

    #[test]
    fn what_a_hostile_header_has_stays_short_and_harmless() {
        let long = format!("a\n\u{202e}\"{}", "é".repeat(1_000));
        let told = told(&vec![&long[..]; 200]);
        assert!(told.ends_with(" and 190 more."), "{told}");
        assert_eq!(told.matches("\"a\u{fffd}\u{fffd}\'").count(), 10, "{told}");
        assert!(told.chars().count() < 10 * 45 + 120 && !told.contains(is_disturbing), "{told}");
    }
}
