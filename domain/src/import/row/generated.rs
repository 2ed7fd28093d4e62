//! Files of every form, made of rows whose faults are known: read through the product's reader, and through one that is as simple as
//! can be.

use std::collections::BTreeSet;

use encoding_rs::WINDOWS_1252;
use proptest::prelude::*;

use super::*;
use crate::import::column::{Delimiter, LineEnd};
use crate::import::encoding::{Encoding, Text, decoded, detect};
use crate::import::file::{FileLimits, MemberFile, survey};

const LIMITS: FileLimits = FileLimits { rows: 100_000, field_bytes: 4096 };
/// The columns of a generated file, in the order of the template; and one that nobody imports.
const COLUMNS: [&str; 8] =
    ["email", "first_name", "last_name", "country", "phone", "subscription_type", "job_title", "Favourite colour"];

/// A value, and the fault that it has.
type Cell = (String, Option<FieldFault>);

/// How a file is written.
#[derive(Clone, Debug)]
struct Form {
    order: Vec<usize>,
    upper: bool,
    delimiter: Delimiter,
    line_end: LineEnd,
    encoding: Encoding,
    mark: bool,
    /// Whether the last line ends.
    ended: bool,
}

/// A row: its values, which of them are quoted without need, how many blank lines come before it, and how it ends.
#[derive(Clone, Debug)]
struct Row {
    cells: Vec<Cell>,
    quoted: Vec<bool>,
    blank: usize,
    end: End,
}

/// How a spreadsheet ends a row.
#[derive(Clone, Copy, Debug)]
enum End {
    /// With its last value: empty cells behind it are left out.
    Value,
    /// With the last column, and so many empty cells more.
    Column(usize),
}

impl Row {
    /// The columns whose cells are written, in the order of the file.
    fn written<'f>(&self, form: &'f Form) -> &'f [usize] {
        let last = form.order.iter().rposition(|column| !self.cells[*column].0.is_empty());
        match self.end {
            End::Value => &form.order[..last.map_or(0, |last| last + 1)],
            End::Column(_) => &form.order,
        }
    }
}

fn form() -> impl Strategy<Value = Form> {
    (
        Just((0..COLUMNS.len()).collect::<Vec<_>>()).prop_shuffle(),
        any::<bool>(),
        prop::sample::select(Delimiter::ALL.to_vec()),
        prop::sample::select(LineEnd::ALL.to_vec()),
        prop::sample::select(vec![Encoding::Utf8, Encoding::Utf16Le, Encoding::Utf16Be, Encoding::Windows1252]),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(order, upper, delimiter, line_end, encoding, mark, ended)| {
            // Windows-1252 has no mark.
            let mark = mark && encoding != Encoding::Windows1252;
            Form { order, upper, delimiter, line_end, encoding, mark, ended }
        })
}

fn good(values: &'static [&'static str]) -> impl Strategy<Value = Cell> {
    prop::sample::select(values.to_vec()).prop_map(|value| (value.to_owned(), None))
}

fn bad(values: &'static [&'static str], fault: FieldFault) -> impl Strategy<Value = Cell> {
    prop::sample::select(values.to_vec()).prop_map(move |value| (value.to_owned(), Some(fault)))
}

/// A name with whatever may stand in one, or with a fault.
fn name() -> impl Strategy<Value = Cell> {
    prop_oneof![
        5 => good(&["Zoë", "O'Brien", "Smith; Jones, Jr.", "Say \"Joe\" Doe", "=SUM(A1)", "Ünal", "Lee\u{a0}Ann"]),
        1 => bad(&["", "  "], FieldFault::Required),
        1 => bad(&["Two\nlines", "Two\r\nlines"], FieldFault::InvalidCharacters),
        1 => Just(("é".repeat(101), Some(FieldFault::TooLong))),
    ]
}

fn email() -> impl Strategy<Value = Cell> {
    prop_oneof![
        6 => (0u32..40).prop_map(|n| (format!("P{n}@firm.example"), None)),
        1 => bad(&["nobody", "a@b@c", "@firm.example"], FieldFault::InvalidEmail),
        1 => bad(&[""], FieldFault::Required),
        1 => bad(&["p@gmail.com"], FieldFault::PersonalDomain),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let country = prop_oneof![3 => good(&["", "de", "US"]), 1 => bad(&["Atlantis"], FieldFault::InvalidCountry)];
    let phone = prop_oneof![3 => good(&["", "+1 (212) 555-0100"]), 1 => bad(&["call me"], FieldFault::InvalidPhone)];
    let subscription = prop_oneof![
        4 => good(&["Attorney", "NON ATTORNEY"]),
        1 => bad(&["Lawyer"], FieldFault::InvalidSubscriptionType),
        1 => bad(&[""], FieldFault::Required),
    ];
    let cells =
        (email(), name(), name(), country, phone, subscription, good(&["", "Partner"]), good(&["", "red\n", "\""]));
    let end = prop_oneof![2 => Just(End::Value), 3 => Just(End::Column(0)), 1 => (1usize..4).prop_map(End::Column)];
    (cells, prop::collection::vec(any::<bool>(), COLUMNS.len()), 0usize..3, end)
        .prop_map(|(cells, quoted, blank, end)| Row {
            cells: <[Cell; COLUMNS.len()]>::from(cells).into(),
            quoted,
            blank,
            end,
        })
        .prop_filter("a blank line is no row", |row| row.cells.iter().any(|(value, _)| !value.trim().is_empty()))
}

fn written(form: &Form, rows: &[Row]) -> Vec<u8> {
    let (delimiter, end) = (
        char::from(form.delimiter.byte()),
        match form.line_end {
            LineEnd::Lf => "\n",
            LineEnd::CrLf => "\r\n",
            LineEnd::Cr => "\r",
        },
    );
    let cell = |value: &str, quoted: bool| {
        let needs = value.contains([delimiter, '"', '\n', '\r']);
        if needs || quoted { format!("\"{}\"", value.replace('"', "\"\"")) } else { value.to_owned() }
    };
    let join = |cells: Vec<String>| cells.join(&delimiter.to_string());
    let header = form.order.iter().map(|column| COLUMNS[*column].to_owned());
    let header = header.map(|name| if form.upper { name.to_uppercase() } else { name });
    let mut text = join(header.collect());
    for row in rows {
        text.push_str(&end.repeat(1 + row.blank));
        let mut cells: Vec<String> = row.written(form).iter().map(|c| cell(&row.cells[*c].0, row.quoted[*c])).collect();
        if let End::Column(more) = row.end {
            cells.extend(std::iter::repeat_n(String::new(), more));
        }
        text.push_str(&join(cells));
    }
    if form.ended {
        text.push_str(end);
    }
    let marked = if form.mark { format!("\u{feff}{text}") } else { text };
    match form.encoding {
        Encoding::Utf8 => marked.into_bytes(),
        Encoding::Utf16Le => marked.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Encoding::Utf16Be => marked.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        Encoding::Windows1252 => WINDOWS_1252.encode(&marked).0.into_owned(),
    }
}

/// Rows of a text, character by character, as RFC 4180 has them; blank lines are numbered and left out, and so are empty cells beyond the
/// first row.
fn reference(text: &str, delimiter: char) -> Vec<(u32, Vec<String>)> {
    let (mut rows, mut row, mut cell, mut number) = (Vec::new(), Vec::new(), String::new(), 1);
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            c if quoted => cell.push(c),
            '\r' | '\n' => {
                if c == '\r' && chars.peek() == Some(&'\n') {
                    chars.next();
                }
                row.push(std::mem::take(&mut cell));
                rows.push((number, std::mem::take(&mut row)));
                number += 1;
            }
            c if c == delimiter => row.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    if !row.is_empty() || !cell.is_empty() {
        row.push(cell);
        rows.push((number, row));
    }
    rows.retain(|(_, cells)| cells.iter().any(|cell| !cell.trim().is_empty()));
    let columns = rows.first().map_or(0, |(_, cells)| cells.len());
    for (_, cells) in &mut rows {
        let values = cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
        cells.truncate(values.max(columns));
    }
    rows
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
}

fn records(bytes: &[u8], encoding: Encoding) -> Vec<Record> {
    wait(async {
        let mut file = MemberFile::open(decoded(bytes, encoding), LIMITS).await.expect("header");
        let mut records = Vec::new();
        while let Some(record) = file.next().await.expect("readable") {
            records.push(record);
        }
        records
    })
}

/// Columns and codes that a row must have, given the addresses before.
fn expected(form: &Form, row: &Row, seen: &mut BTreeSet<String>) -> BTreeSet<(Option<Column>, FieldFault)> {
    let mut faults = BTreeSet::new();
    let required = ["email", "first_name", "last_name", "subscription_type"];
    let missing = |(c, name): (usize, &&str)| required.contains(name) && !row.written(form).contains(&c);
    if COLUMNS.iter().enumerate().any(missing) {
        return BTreeSet::from([(None, FieldFault::TooFewColumns)]);
    }
    for (name, (_, fault)) in COLUMNS.iter().zip(&row.cells) {
        if let (Ok(column), Some(fault)) = (name.parse(), fault) {
            faults.insert((Some(column), *fault));
        }
    }
    let address = row.cells[0].0.to_lowercase();
    let readable = matches!(row.cells[0].1, None | Some(FieldFault::PersonalDomain));
    if readable && !seen.insert(address) {
        faults.insert((Some(Column::Email), FieldFault::DuplicateInFile));
    }
    faults
}

/// A change of some bytes of a file: where, how many go, and what comes.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, Vec<u8>)>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..8),
        prop::sample::select(vec![&b"\""[..], b"\0", b"\r", b",", b";", b"\xff\xfe", b"\xe2\x80\xae"])
            .prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, bytes), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_are_read_or_refused(which in 0usize..3, damage in damage(), wide in any::<bool>()) {
        let files: [&[u8]; 3] = [
            include_bytes!("../../../../tests/fixtures/members.csv"),
            include_bytes!("../../../../tests/fixtures/members-spreadsheet.csv"),
            include_bytes!("../../../../tests/fixtures/members-faulty.csv"),
        ];
        let mut bytes = files[which].to_vec();
        if wide {
            bytes = String::from_utf8(bytes).expect("UTF-8").encode_utf16().flat_map(u16::to_le_bytes).collect();
        }
        for (place, gone, come) in damage {
            let from = place.index(bytes.len());
            let to = (from + gone).min(bytes.len());
            bytes.splice(from..to, come);
        }
        let Some(text) = wait(detect(&bytes[..])).expect("a slice can be read") else { return Ok(()) };
        let policy = DomainPolicy::new(true, &[], &[]).expect("policy");
        let mut seen = SeenAddresses::default();
        let counted = wait(survey(decoded(&bytes[..], text.encoding), LIMITS)).map(|survey| survey.records);
        let rows = wait(async {
            let mut file = MemberFile::open(decoded(&bytes[..], text.encoding), LIMITS).await.ok()?;
            let mut rows = 0;
            while let Some(record) = file.next().await.ok()? {
                if let Err(faults) = check_row(&record, &policy, &mut seen) {
                    assert!(!faults.is_empty() && faults.iter().all(|fault| fault.sentence.ends_with('.')));
                }
                rows += 1;
            }
            Some(rows)
        });
        prop_assert_eq!(counted.ok(), rows);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_form_of_a_file_gives_the_same_rows_and_faults(form in form(), rows in prop::collection::vec(row(), 1..25)) {
        // A file without a letter beyond ASCII is the same in both.
        let plain = rows.iter().flat_map(|row| &row.cells).all(|(value, _)| value.is_ascii());
        let form = if form.encoding == Encoding::Windows1252 && plain { Form { encoding: Encoding::Utf8, ..form } } else { form };
        let bytes = written(&form, &rows);
        let found = wait(detect(&bytes[..])).expect("a slice can be read");
        prop_assert_eq!(found, Some(Text { encoding: form.encoding, byte_order_mark: form.mark }));
        let surveyed = wait(survey(decoded(&bytes[..], form.encoding), LIMITS)).expect("a header");
        prop_assert_eq!(surveyed.header.delimiter(), form.delimiter);
        prop_assert_eq!(surveyed.line_end, Some(form.line_end));
        prop_assert_eq!(surveyed.header.unknown_names().count(), 1);

        let utf8 = Form { encoding: Encoding::Utf8, mark: false, ..form.clone() };
        let text = String::from_utf8(written(&utf8, &rows)).expect("UTF-8");
        let mut simple = reference(&text, char::from(form.delimiter.byte()));
        simple.remove(0);
        let read = records(&bytes, form.encoding);
        let cells: Vec<(u32, Vec<String>)> = read.iter().map(|record| (record.row, record.cells.clone())).collect();
        prop_assert_eq!(cells, simple);

        let policy = DomainPolicy::new(true, &[], &[]).expect("policy");
        let (mut seen, mut addresses) = (SeenAddresses::default(), BTreeSet::new());
        for (record, row) in read.iter().zip(&rows) {
            let faults = check_row(record, &policy, &mut seen).err().unwrap_or_default();
            let found: BTreeSet<_> = faults.iter().map(|fault| (fault.column, fault.code)).collect();
            prop_assert_eq!(&found, &expected(&form, row, &mut addresses), "{:?}", row);
            prop_assert_eq!(found.len(), faults.len());
        }
        prop_assert_eq!(read.len(), rows.len());
    }
}
