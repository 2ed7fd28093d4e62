//! The rows of an imported file.

use async_graphql::{ComplexObject, Context, Enum, InputObject, Result, SimpleObject};
use domain::id::MemberId;
use domain::import::column::Column;
use domain::import::{self, RowFilter};
use domain::profile::FieldFault;

use crate::graphql::error::ErrorCode;
use crate::graphql::member::{Member, reference};

/// What a row does, or in a dry run would do.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "import::Outcome")]
pub enum ImportRowAction {
    /// The person becomes an invited member.
    #[graphql(name = "CREATE")]
    Invited,
    /// A member gets other values, further roles or groups; `changes` names the columns.
    #[graphql(name = "UPDATE")]
    Updated,
    /// A member is there as the row says.
    Unchanged,
    /// Nothing; the errors say why.
    #[graphql(name = "REJECT")]
    Rejected,
}

/// Which rows of an import.
#[derive(InputObject, Clone, Debug, Default)]
pub struct ImportRowFilter {
    /// Those that do one of these; of all unless given.
    actions: Option<Vec<ImportRowAction>>,
    /// Those with one of these faults.
    codes: Option<Vec<ImportRowErrorCode>>,
    /// Those with a fault in this column, by its name in the template.
    column: Option<String>,
}

impl ImportRowFilter {
    /// A name that is no column is that of no row.
    pub(super) fn into_rows(self) -> Result<RowFilter> {
        let column = self.column.map(|name| name.parse::<Column>()).transpose();
        let column =
            column.map_err(|_| ErrorCode::BadUserInput.error("`column` is the name of a column of the template."))?;
        Ok(RowFilter {
            outcomes: self.actions.unwrap_or_default().into_iter().map(Into::into).collect(),
            codes: self.codes.unwrap_or_default().into_iter().map(Into::into).collect(),
            column,
        })
    }
}

/// A row of an imported file.
#[derive(SimpleObject, Clone, Debug)]
#[graphql(complex)]
pub struct ImportRow {
    #[graphql(skip)]
    member_id: Option<MemberId>,
    /// The row as a spreadsheet shows it: the header is row 1. A first line that names the separator counts as well.
    row: i32,
    /// What it does, or in a dry run would do.
    action: ImportRowAction,
    /// The columns that it changes, by their names in the template: of UPDATE only.
    changes: Vec<String>,
    /// What is wrong with it.
    errors: Vec<ImportRowError>,
}

#[ComplexObject]
impl ImportRow {
    /// The member it became or is about; null when it was rejected, when nobody was made yet, and when the member is gone.
    async fn member(&self, ctx: &Context<'_>) -> Option<Result<Member>> {
        reference(ctx, self.member_id).await
    }
}

macro_rules! row_error_codes {
    ($($name:ident $code:literal $sentence:literal)*) => {
        /// What can be wrong with a row of an imported file.
        #[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
        #[graphql(remote = "FieldFault")]
        pub enum ImportRowErrorCode { $(#[doc = $sentence] #[graphql(name = $code)] $name,)* }
    };
}

domain::with_field_faults!(row_error_codes);

/// One thing that is wrong with a row.
#[derive(SimpleObject, Clone, Debug)]
pub struct ImportRowError {
    /// The column; null when it concerns the whole row.
    column: Option<String>,
    /// The rejected value, cut at 200 characters; null for the whole row, and 7 days after the import.
    value: Option<String>,
    /// What is wrong, for programs.
    code: ImportRowErrorCode,
    /// What is wrong and what to do, for people.
    message: String,
}

impl From<import::RowOutcome> for ImportRow {
    fn from(row: import::RowOutcome) -> Self {
        let error = |fault: import::row::RowFault| ImportRowError {
            column: fault.column.map(|column| column.name().to_owned()),
            value: fault.value,
            code: fault.code.into(),
            message: fault.sentence,
        };
        Self {
            member_id: row.member_id,
            row: row.row_no,
            action: row.outcome.into(),
            changes: row.changes,
            errors: row.faults.0.into_iter().map(error).collect(),
        }
    }
}
