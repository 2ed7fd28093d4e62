use serde::Deserialize;

use super::*;
use crate::import::column::Delimiter;
use crate::import::file::{FileLimits, MemberFile};
use crate::import::report;

const LIMITS: FileLimits = FileLimits { rows: 100_000, field_bytes: 4096 };
const MEMBERS: &[u8] = include_bytes!("../../../../tests/fixtures/members.csv");
const SPREADSHEET: &[u8] = include_bytes!("../../../../tests/fixtures/members-spreadsheet.csv");
const FAULTY: &[u8] = include_bytes!("../../../../tests/fixtures/members-faulty.csv");
const EXPECTED: &str = include_str!("../../../../tests/fixtures/members-faulty.expected.json");

/// A fault as the fixture describes it.
#[derive(Deserialize)]
struct Expected {
    row: u32,
    column: Option<String>,
    value: Option<String>,
    fault: String,
}

impl Expected {
    fn code(&self) -> Option<FieldFault> {
        Some(match self.fault.as_str() {
            "malformed address" => FieldFault::InvalidEmail,
            "required value missing" => FieldFault::Required,
            "not one of Attorney, Non-attorney" => FieldFault::InvalidSubscriptionType,
            "unknown time zone" => FieldFault::InvalidTimeZone,
            "unknown country" => FieldFault::InvalidCountry,
            "malformed phone number" => FieldFault::InvalidPhone,
            "same address twice in the file (letter case differs)" => FieldFault::DuplicateInFile,
            "periods or spaces in initials" => FieldFault::InvalidInitials,
            "personal domain, where the policy refuses them" => FieldFault::PersonalDomain,
            "value too long" => FieldFault::TooLong,
            "too few columns" => FieldFault::TooFewColumns,
            "too many columns" => FieldFault::TooManyColumns,
            // A formula is a name like any other.
            "accepted as text or refused; formula-safe in the error report either way" => return None,
            other => panic!("the fixture has an unknown fault: {other}"),
        })
    }
}

fn policy() -> DomainPolicy {
    DomainPolicy::new(true, &[], &[]).expect("policy")
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
}

fn records(bytes: &[u8]) -> Vec<Record> {
    wait(async {
        let mut file = MemberFile::open(bytes, LIMITS).await.expect("header");
        let mut records = Vec::new();
        while let Some(record) = file.next().await.expect("readable") {
            records.push(record);
        }
        records
    })
}

fn checked(records: &[Record]) -> Vec<Result<ImportRow, Vec<RowFault>>> {
    let mut seen = SeenAddresses::default();
    records.iter().map(|record| check_row(record, &policy(), &mut seen)).collect()
}

fn one(row: &str) -> Result<ImportRow, Vec<RowFault>> {
    let header = "email,first_name,last_name,subscription_type,phone,country,roles,groups";
    parse_row(&records(format!("{header}\n{row}\n").as_bytes())[0], &policy())
}

fn codes(faults: &[RowFault]) -> Vec<(Option<Column>, FieldFault)> {
    faults.iter().map(|fault| (fault.column, fault.code)).collect()
}

#[test]
fn the_template_imports_as_it_is() {
    let records = records(MEMBERS);
    let rows: Vec<ImportRow> = checked(&records).into_iter().collect::<Result<_, _>>().expect("all valid");
    assert_eq!(rows.len(), 120);
    assert_eq!(records[0].header.unknown_names().count(), 0);
    let first = &rows[0];
    assert_eq!(first.email.as_str(), "mario.hernandez@harborandfinch.example");
    assert_eq!(first.profile.phone.as_deref(), Some("+14165552471"));
    assert_eq!(first.profile.time_zone.as_deref(), Some("America/Vancouver"));
    assert_eq!(first.profile.subscription_type, Some(SubscriptionType::Attorney));
    assert_eq!((first.profile.job_title.as_ref(), first.roles.len()), (None, 0));
}

#[test]
fn what_a_spreadsheet_saved_imports_with_a_warning() {
    let records = records(SPREADSHEET);
    let rows: Vec<ImportRow> = checked(&records).into_iter().collect::<Result<_, _>>().expect("all valid");
    assert_eq!((rows.len(), records.last().map(|record| record.row)), (80, Some(81)));
    assert_eq!(records[0].header.delimiter(), Delimiter::Semicolon);
    assert_eq!(records[0].header.unknown_names().collect::<Vec<_>>(), ["Note"]);
    assert_eq!(rows[0].profile.first_name.as_deref(), Some("Carol"));
}

#[test]
fn every_fault_of_the_faulty_file_is_found_and_no_other() {
    let records = records(FAULTY);
    let found = records.iter().zip(checked(&records)).flat_map(|(record, checked)| {
        checked.err().unwrap_or_default().into_iter().map(|fault| (record.row, fault.column, fault.value, fault.code))
    });
    let expected: Vec<Expected> = serde_json::from_str(EXPECTED).expect("fixture");
    let expected = expected.iter().filter_map(|fault| {
        let column = fault.column.as_deref().map(|name| name.parse().expect("column"));
        let value = fault.value.as_deref().map(|value| value.chars().take(VALUE_CHARS).collect());
        Some((fault.row, column, value, fault.code()?))
    });
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn a_mended_report_imports_as_it_is() {
    let records = records(FAULTY);
    let checked = checked(&records);
    let rejected: Vec<_> =
        records.iter().zip(&checked).filter_map(|(record, row)| Some((record, row.as_ref().err()?))).collect();
    let report =
        report::write_report(&records[0].header, rejected.iter().map(|(record, faults)| (*record, faults.as_slice())));
    let again = self::records(&report);
    assert_eq!(again.len(), rejected.len());
    for (again, (record, faults)) in again.iter().zip(&rejected) {
        let before: Vec<_> = Column::ALL.into_iter().map(|column| record.cell(column).unwrap_or_default()).collect();
        let after: Vec<_> = Column::ALL.into_iter().map(|column| again.cell(column).unwrap_or_default()).collect();
        assert_eq!(before, after, "row {}", record.row);
        let narrow = faults[0].code == FieldFault::TooFewColumns;
        assert_eq!(again.is_aligned(), record.is_aligned() || narrow, "the report pads a row that was too short");
    }
}

#[test]
fn all_faults_of_a_row_are_reported() {
    let faults = one("nobody,,Lima,Lawyer,12,Atlantis,,").expect_err("faulty");
    assert_eq!(
        codes(&faults),
        [
            (Some(Column::Email), FieldFault::InvalidEmail),
            (Some(Column::FirstName), FieldFault::Required),
            (Some(Column::Country), FieldFault::InvalidCountry),
            (Some(Column::Phone), FieldFault::InvalidPhone),
            (Some(Column::SubscriptionType), FieldFault::InvalidSubscriptionType),
        ]
    );
}

#[test]
fn names_that_contain_the_separator_are_read_as_they_were_written() {
    let names = ["Tax | VAT", "a\\b", "c\\|d", "\\", "e"].map(str::to_owned);
    assert_eq!(parted(&joined(&names)), names);
    assert_eq!(joined(&names[..2]), r"Tax \| VAT|a\\b");
    let row = one(r"a@firm.example,A,B,attorney,,,Front\|desk|a\b,").expect("valid");
    assert_eq!(row.roles, ["Front|desk", "a\\b"], "a backslash before anything else is one");
}

#[test]
fn whoever_is_in_every_group_can_be_named_in_a_row() {
    let names: Vec<String> = (0..1_001).map(|n| format!("Group of the firm, number {n:04}")).collect();
    let row = |names: &[String]| one(&format!("a@firm.example,A,B,attorney,,,,\"{}\"", joined(names)));
    assert_eq!(row(&names[..1_000]).expect("valid").groups, names[..1_000]);
    assert_eq!(codes(&row(&names).expect_err("faulty")), [(Some(Column::Groups), FieldFault::TooManyGroups)]);
    let twice = [&names[..1_000], &names[..500]].concat();
    assert_eq!(row(&twice).expect("valid").groups.len(), 1_000, "each counts once");
}

#[test]
fn names_copied_from_the_template_are_read_as_they_are() {
    let names = ["Front|desk", "a\\b", "Tax"].map(str::to_owned);
    let column = |column, values| crate::import::template::TemplateColumn {
        column,
        required: false,
        description: "",
        values,
        example: "",
    };
    let columns = [column(Column::Email, None), column(Column::Roles, Some(names.to_vec()))];
    let csv = crate::import::template::csv(&columns);
    let text = String::from_utf8(csv).expect("UTF-8");
    let (_, list) = text.trim_end().rsplit_once(',').expect("a cell");
    assert_eq!(one(&format!("a@firm.example,A,B,attorney,,,{list},")).expect("valid").roles, names);
}

#[test]
fn a_row_that_ends_early_has_empty_cells_at_its_end() {
    let row = one("a@firm.example,A,B,attorney").expect("valid");
    assert_eq!((row.profile.phone, row.roles.len()), (None, 0));
    assert_eq!(codes(&one("a@firm.example,A,B").expect_err("faulty")), [(None, FieldFault::TooFewColumns)]);
}

#[test]
fn a_cell_full_of_names_is_one_fault() {
    let names: Vec<String> = (0..700).map(|n| format!("r{n}")).collect();
    let row = one(&format!("a@firm.example,A,B,attorney,,,{},", names.join("|")));
    assert_eq!(codes(&row.expect_err("faulty")), [(Some(Column::Roles), FieldFault::TooManyRoles)]);
}

#[test]
fn roles_and_groups_are_lists() {
    let row = one("a@firm.example,A,B,attorney,,,Standard | Billing manager|Standard||,Litigation").expect("valid");
    assert_eq!(row.roles, ["Standard", "Billing manager"]);
    assert_eq!(row.groups, ["Litigation"]);
    assert_eq!(
        codes(&one("a@firm.example,A,B,attorney,,,\"x\u{1b}\",").expect_err("faulty")),
        [(Some(Column::Roles), FieldFault::InvalidCharacters)]
    );
}

#[test]
fn rejected_values_can_be_stored_and_are_short() {
    let faults = one(&format!("a@firm.example,A\0B,{},attorney,,,,", "x".repeat(300))).expect_err("faulty");
    assert_eq!(faults[0].value.as_deref(), Some("A\u{fffd}B"));
    assert_eq!(faults[1].value.as_ref().map(String::len), Some(200));
    assert_eq!(faults[1].sentence, "Shorten this to at most 100 characters.");
    assert_eq!(format!("{:?}", faults[0]), "RowFault { column: Some(FirstName), code: InvalidCharacters, .. }");
    let json = serde_json::to_string(&faults).expect("json");
    assert_eq!(serde_json::from_str::<Vec<RowFault>>(&json).expect("faults"), faults);
}

#[test]
fn an_address_counts_once_whatever_became_of_its_first_row() {
    let file = "email,first_name,last_name,subscription_type\n\
        A@x.example,,B,attorney\na@X.example,A,B,lawyer\nno,A,B,attorney\nno,A,B,attorney\n";
    let rows = checked(&records(file.as_bytes()));
    let codes: Vec<_> = rows.iter().map(|row| codes(row.as_ref().expect_err("faulty"))).collect();
    assert_eq!(codes[0], [(Some(Column::FirstName), FieldFault::Required)]);
    assert_eq!(
        codes[1],
        [
            (Some(Column::Email), FieldFault::DuplicateInFile),
            (Some(Column::SubscriptionType), FieldFault::InvalidSubscriptionType),
        ]
    );
    assert_eq!(
        codes[2..],
        [[(Some(Column::Email), FieldFault::InvalidEmail)], [(Some(Column::Email), FieldFault::InvalidEmail)]]
    );
}

#[test]
fn addresses_are_known_again_after_a_stop() {
    let records = records(FAULTY);
    for (stop, record) in records.iter().enumerate() {
        let mut seen = wait(SeenAddresses::before(record.row, FAULTY, LIMITS)).expect("readable");
        let rest: Vec<_> = records[stop..].iter().map(|record| check_row(record, &policy(), &mut seen)).collect();
        assert_eq!(rest, checked(&records)[stop..]);
    }
}
