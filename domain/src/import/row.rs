//! What a record asks for, or everything that is wrong with it.

use std::collections::HashSet;
use std::fmt;

use super::column::Column;
use super::duplicates::SeenAddresses;
use super::file::Record;
use super::shortage::Shortage;
use crate::infra::clock::Timestamp;
use crate::infra::email_address::EmailAddress;
use crate::infra::personal_domain::DomainPolicy;
use crate::member::MAX_ROLES;
use crate::profile::{self, FieldFault, Profile, SubscriptionType};

/// Characters of a quoted text that are kept.
const VALUE_CHARS: usize = 200;
/// Groups that a row names at most: as many as an account has, so that whoever is in all of them can be exported and imported.
const MAX_GROUPS: usize = 1_000;

/// A valid record. Which of the optional columns the file has at all is in the record's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRow {
    /// Whom the row is about.
    pub email: EmailAddress,
    /// The person's profile; names and subscription type are present.
    pub profile: Profile,
    /// Names of roles as they stand in the file, each once; whether they exist is not looked at.
    pub roles: Vec<String>,
    /// Names of groups as they stand in the file, each once; whether they exist is not looked at.
    pub groups: Vec<String>,
}

/// One thing that is wrong with a row. `Debug` hides the value.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RowFault {
    /// The column; `None` if it is the row as a whole.
    pub column: Option<Column>,
    /// The rejected value, cut after 200 characters; what a database or a terminal could not take is replaced by
    /// U+FFFD.
    pub value: Option<String>,
    /// What is wrong, for programs.
    pub code: FieldFault,
    /// What is wrong and what to do, for people.
    pub sentence: String,
}

impl RowFault {
    /// A fault of a value, or of the whole row.
    pub fn new(column: Option<Column>, value: Option<&str>, code: FieldFault) -> Self {
        let value = value.map(shown);
        let sentence = match (code, column.and_then(Column::max_chars)) {
            (FieldFault::TooLong, Some(limit)) => format!("Shorten this to at most {limit} characters."),
            _ => code.sentence().to_owned(),
        };
        Self { column, value, code, sentence }
    }

    /// With the time from which the row may be tried again, if that is known.
    #[must_use]
    pub(super) fn until(mut self, retry_at: Option<Timestamp>) -> Self {
        if let Some(at) = retry_at {
            self.sentence = format!("{} The limit ends at {}.", self.sentence, at.0);
        }
        self
    }
}

impl RowFault {
    /// Says, where this is the lack of a seat, how many are missing: that is known of the whole file only.
    pub(super) fn name(&mut self, shortage: &Shortage) {
        if self.code == FieldFault::NoSeat {
            self.sentence = format!("No licence is free for this person. {shortage}");
        }
    }
}

/// A text of the file as it is quoted: cut after 200 characters; what a database or a terminal could not take is replaced by U+FFFD.
pub(super) fn shown(text: &str) -> String {
    let shown = |c: char| if c.is_control() && !matches!(c, '\n' | '\r' | '\t') { '\u{fffd}' } else { c };
    text.chars().take(VALUE_CHARS).map(shown).collect()
}

impl fmt::Debug for RowFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("RowFault");
        shown.field("column", &self.column).field("code", &self.code).finish_non_exhaustive()
    }
}

/// What a record says, as far as it can be read, and everything that is wrong with it by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// Whom the row is about, if that can be read; whether the account accepts new members with such an address is among the faults.
    pub(super) email: Option<EmailAddress>,
    /// What can be read of the profile.
    pub(super) profile: Profile,
    /// Names of roles, each once.
    pub(super) roles: Vec<String>,
    /// Names of groups, each once.
    pub(super) groups: Vec<String>,
    /// In the order of the columns.
    pub(super) faults: Vec<RowFault>,
}

/// Checks a record by itself. All its faults are reported, except that nothing is said about the cells of a record that
/// has too few or too many of them.
pub fn parse_row(record: &Record, policy: &DomainPolicy) -> Result<ImportRow, Vec<RowFault>> {
    judge(record, policy, None).whole()
}

/// As [`parse_row`], and the same address in an earlier record is a fault as well.
pub fn check_row(record: &Record, policy: &DomainPolicy, seen: &mut SeenAddresses) -> Result<ImportRow, Vec<RowFault>> {
    let earlier = seen.note(record);
    judge(record, policy, earlier).whole()
}

/// Reads a record, of whose address the row is known that had it first.
pub(super) fn judge(record: &Record, policy: &DomainPolicy, earlier: Option<u32>) -> Checked {
    let mut checked = check(record, policy);
    if let Some(row) = earlier {
        let fault = RowFault::new(Some(Column::Email), record.cell(Column::Email), FieldFault::DuplicateInFile);
        let sentence = format!("Row {row} of the file has the same address; keep only one of them.");
        checked.faults.insert(0, RowFault { sentence, ..fault });
    }
    checked
}

fn check(record: &Record, policy: &DomainPolicy) -> Checked {
    if !record.is_aligned() {
        let faults = record.faults.iter().filter(|fault| fault.column.is_none()).cloned().collect();
        return Checked { email: None, profile: Profile::default(), roles: Vec::new(), groups: Vec::new(), faults };
    }
    let mut cells = Cells { record, faults: Vec::new() };
    let email = cells.required(Column::Email, |text| Ok(EmailAddress::parse(text)?));
    if let Some(Err(code)) = email.as_ref().map(|address| policy.check(address)) {
        cells.faults.push(RowFault::new(Some(Column::Email), record.cell(Column::Email), code.into()));
    }
    let profile = cells.profile();
    let roles = cells.names(Column::Roles, (MAX_ROLES, FieldFault::TooManyRoles));
    let groups = cells.names(Column::Groups, (MAX_GROUPS, FieldFault::TooManyGroups));
    Checked { email, profile, roles, groups, faults: cells.faults }
}

impl Checked {
    /// Names of roles and groups.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.roles.iter().chain(&self.groups)
    }

    fn whole(self) -> Result<ImportRow, Vec<RowFault>> {
        match self.email {
            Some(email) if self.faults.is_empty() => {
                Ok(ImportRow { email, profile: self.profile, roles: self.roles, groups: self.groups })
            }
            _ => Err(self.faults),
        }
    }
}

/// The cells of a record, with what was found wrong so far.
struct Cells<'a> {
    record: &'a Record,
    faults: Vec<RowFault>,
}

impl Cells<'_> {
    fn profile(&mut self) -> Profile {
        Profile {
            first_name: self.required(Column::FirstName, profile::person_name),
            last_name: self.required(Column::LastName, profile::person_name),
            initials: self.optional(Column::Initials, profile::initials),
            time_zone: self.optional(Column::TimeZone, profile::time_zone),
            address: self.optional(Column::Address, profile::address),
            city: self.optional(Column::City, profile::city),
            state: self.optional(Column::State, profile::state),
            zip: self.optional(Column::Zip, profile::zip),
            country: self.optional(Column::Country, profile::country),
            phone: self.optional(Column::Phone, profile::phone),
            job_title: self.optional(Column::JobTitle, profile::job_title),
            subscription_type: self.required(Column::SubscriptionType, SubscriptionType::parse),
        }
    }

    fn optional<T>(&mut self, column: Column, parse: impl FnOnce(&str) -> Result<T, FieldFault>) -> Option<T> {
        self.record.cell(column)?;
        self.required(column, |text| profile::optional(text, parse)).flatten()
    }

    /// The parsed cell; `None` if it has a fault, which is noted.
    fn required<T>(&mut self, column: Column, parse: impl FnOnce(&str) -> Result<T, FieldFault>) -> Option<T> {
        if let Some(fault) = self.record.faults.iter().find(|fault| fault.column == Some(column)) {
            self.faults.push(fault.clone());
            return None;
        }
        let cell = self.record.cell(column).unwrap_or_default();
        parse(cell).map_err(|code| self.faults.push(RowFault::new(Some(column), Some(cell), code))).ok()
    }

    fn names(&mut self, column: Column, limit: (usize, FieldFault)) -> Vec<String> {
        self.optional(column, |text| names(text, limit)).unwrap_or_default()
    }
}

/// Names as they stand in one cell: separated by `|`. A `|` within a name is written `\\|`, and a backslash `\\\\`.
pub(crate) fn joined(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| escaped(name)).collect();
    names.join("|")
}

/// A name as it stands in a cell among others.
pub(super) fn escaped(name: &str) -> String {
    name.replace('\\', r"\\").replace('|', r"\|")
}

/// The names of a cell, as [`joined`] wrote them. A backslash before anything else is one.
fn parted(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let escaped = if c == '\\' { rest.next_if(|next| matches!(next, '|' | '\\')) } else { None };
        match (c, escaped) {
            ('|', _) => names.push(String::new()),
            (_, c_or_none) => names.last_mut().expect("never empty").push(c_or_none.unwrap_or(c)),
        }
    }
    names
}

/// Names separated by `|`, each once, in their order. More than so many are one fault, so that a cell full of names costs no more than
/// any other.
fn names(text: &str, (limit, too_many): (usize, FieldFault)) -> Result<Vec<String>, FieldFault> {
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for name in parted(text).iter().filter(|name| !name.trim().is_empty()) {
        let name = profile::line(name, profile::NAME_CHARS)?;
        if seen.insert(name.clone()) {
            names.push(name);
        }
        if names.len() > limit {
            return Err(too_many);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;
