//! Why an import ends early.

use std::fmt;
use std::str::FromStr;

use super::file::FileFault;
use super::shortage::Shortage;

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
            Self::RowsRejected(rows) => write!(f, "{rows} rows have faults: {}", self.code().sentence()),
            Self::SeatShortage { required, shortage } => {
                write!(f, "The file needs {required} licences. {shortage} No row was imported.")
            }
            other => f.write_str(other.code().sentence()),
        }
    }
}
