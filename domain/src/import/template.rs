//! What a file to import looks like: its columns, what may stand in them, and an example. The account's own roles and groups are named.

use sqlx::PgConnection;

use super::column::Column;
use super::report::{BYTE_ORDER_MARK, guarded};
use super::row::escaped;
use crate::id::AccountId;

/// Names of roles, or groups, that are listed at most: a file of any size is made of a few.
const LISTED: i64 = 1_000;
/// Bytes of a list of names at most; a spreadsheet's cell holds 32,767 characters.
const LONGEST_CELL: usize = 32_000;

/// A column of the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateColumn {
    /// Which.
    pub column: Column,
    /// Whether each row must have a value in it.
    pub required: bool,
    /// What it is for.
    pub description: &'static str,
    /// All values it may have, where they are few; for roles and groups those of the account.
    pub values: Option<Vec<String>>,
    /// An example.
    pub example: &'static str,
}

/// The columns, in the order of the template.
pub async fn columns(conn: &mut PgConnection, account: AccountId) -> sqlx::Result<Vec<TemplateColumn>> {
    let named = sqlx::query!(
        r#"(SELECT true AS "role!", name AS "name!" FROM role WHERE account_id = $1 AND archived_at IS NULL
            ORDER BY lower(name), role_id LIMIT $2)
           UNION ALL
           (SELECT false, name FROM member_group WHERE account_id = $1 AND archived_at IS NULL
            ORDER BY lower(name), group_id LIMIT $2)"#,
        account.0,
        LISTED,
    )
    .fetch_all(conn)
    .await?;
    let (roles, groups): (Vec<_>, Vec<_>) = named.into_iter().partition(|one| one.role);
    let [roles, groups] = [roles, groups].map(|list| list.into_iter().map(|one| one.name).collect::<Vec<_>>());
    let column = |column| {
        let (description, example) = told(column);
        let values = match column {
            Column::SubscriptionType => Some(vec!["Attorney".to_owned(), "Non-attorney".to_owned()]),
            Column::Roles => Some(roles.clone()),
            Column::Groups => Some(groups.clone()),
            _ => None,
        };
        TemplateColumn { column, required: Column::REQUIRED.contains(&column), description, values, example }
    };
    Ok(Column::ALL.into_iter().map(column).collect())
}

/// What a column is for, and an example.
fn told(column: Column) -> (&'static str, &'static str) {
    match column {
        Column::Email => ("The address the person signs in with; each once in a file.", "ada.lovelace@example.com"),
        Column::FirstName => ("First name.", "Ada"),
        Column::LastName => ("Last name.", "Lovelace"),
        Column::Initials => ("Initials, without periods and spaces.", "AL"),
        Column::TimeZone => ("A name of the IANA time zone database.", "Europe/London"),
        Column::Address => ("Street address, on one line.", "12 St James's Square"),
        Column::City => ("City.", "London"),
        Column::State => ("State or province.", "England"),
        Column::Zip => ("Postal code.", "SW1Y 4JH"),
        Column::Country => ("The two-letter code of ISO 3166-1.", "GB"),
        Column::Phone => ("With + and the country code.", "+44 20 7946 0018"),
        Column::SubscriptionType => ("What the person's subscription covers.", "Attorney"),
        Column::JobTitle => ("Job title.", "Analyst"),
        Column::Roles => ("Names of roles, separated by |; the import's default roles where it is empty.", "Standard"),
        Column::Groups => ("Names of groups, separated by |.", ""),
    }
}

/// The template as a file that spreadsheets open and that can be imported: a header and an example row. The account's roles and groups
/// stand in two further columns, which an import keeps aside.
pub fn csv(columns: &[TemplateColumn]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(BYTE_ORDER_MARK.to_vec());
    let named = |column: &&TemplateColumn| column.column.is_list();
    let permitted = columns.iter().filter(named);
    let header = columns.iter().map(|column| column.column.name().to_owned());
    let further = permitted.clone().map(|column| format!("permitted_{}", column.column.name()));
    writer.write_record(header.chain(further)).expect("a vector takes every byte");
    let examples = columns.iter().map(|column| guarded(column.example));
    let lists: Vec<String> = permitted.map(|column| in_one_cell(column.values.iter().flatten())).collect();
    writer.write_record(examples.chain(lists.iter().map(|list| guarded(list)))).expect("a vector takes every byte");
    writer.into_inner().expect("a vector takes every byte")
}

/// As many names as a cell of a spreadsheet holds, each as it is written in a row.
fn in_one_cell<'n>(names: impl Iterator<Item = &'n String>) -> String {
    let mut cell = String::new();
    for name in names.map(|name| escaped(name)) {
        if cell.len() + name.len() > LONGEST_CELL {
            cell.push_str(" | …");
            break;
        }
        if !cell.is_empty() {
            cell.push_str(" | ");
        }
        cell.push_str(&name);
    }
    cell
}
