//! The error report: the rejected rows in the form of the uploaded file, with what is wrong with each. Mended, it can
//! be uploaded as it is.
//!
//! A spreadsheet must not take a cell for a formula (OWASP, "CSV Injection"). A cell that begins with `=`, `+`, `-`,
//! `@`, a tabulator or a line break, or with the full-width form of one of the signs, gets an apostrophe before it;
//! reading takes one away again. A cell that has apostrophes before such a character gets one more, so that nothing is
//! lost on the way.

use super::column::{Header, Meaning, REPORT_COLUMNS};
use super::file::Record;
use super::row::RowFault;

/// The mark by which spreadsheets recognise UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Writes rejected rows with their faults, as bytes for the caller to store or send on: [`ErrorReport::header`] first,
/// then [`ErrorReport::row`] for each.
pub struct ErrorReport<'a> {
    header: &'a Header,
}

impl<'a> ErrorReport<'a> {
    /// A report on a file with this header, with the same delimiter and the same columns in the same order.
    pub fn new(header: &'a Header) -> Self {
        Self { header }
    }

    /// The byte order mark and the row of names.
    pub fn header(&self) -> Vec<u8> {
        let names = self.kept(self.header.names()).chain(REPORT_COLUMNS);
        [BYTE_ORDER_MARK, &self.line(names)].concat()
    }

    /// A rejected row. Several faults stand in one cell: codes and columns separated by `|`, sentences by a space.
    /// Cells beyond the last column come after them, where they can be seen and moved.
    pub fn row(&self, record: &Record, faults: &[RowFault]) -> Vec<u8> {
        let join = |texts: Vec<&str>, separator: &str| texts.join(separator);
        let errors = [
            join(faults.iter().map(|fault| fault.code.as_str()).collect(), "|"),
            join(faults.iter().map(|fault| fault.column.map_or("", |column| column.name())).collect(), "|"),
            join(faults.iter().map(|fault| fault.sentence.as_str()).collect(), " "),
        ];
        let columns = self.header.names().len();
        let (inside, beyond) = record.cells.split_at(record.cells.len().min(columns));
        let padding = std::iter::repeat_n("", self.kept_count().saturating_sub(self.kept(inside).count()));
        let beyond = beyond.iter().map(String::as_str);
        self.line(self.kept(inside).chain(padding).chain(errors.iter().map(String::as_str)).chain(beyond))
    }

    /// The cells of all columns but those of an earlier report.
    fn kept<'c>(&self, cells: &'c [String]) -> impl Iterator<Item = &'c str> {
        let cells = cells.iter().zip(self.header.meanings());
        cells.filter(|(_, meaning)| **meaning != Meaning::Report).map(|(cell, _)| cell.as_str())
    }

    fn kept_count(&self) -> usize {
        self.header.meanings().iter().filter(|meaning| **meaning != Meaning::Report).count()
    }

    fn line<'c>(&self, cells: impl Iterator<Item = &'c str>) -> Vec<u8> {
        let mut builder = csv::WriterBuilder::new();
        builder.delimiter(self.header.delimiter().byte()).terminator(csv::Terminator::CRLF).buffer_capacity(1024);
        let mut writer = builder.from_writer(Vec::new());
        writer.write_record(cells.map(guarded)).expect("a vector takes every byte");
        writer.into_inner().expect("a vector takes every byte")
    }
}

/// The whole report at once.
pub fn write_report<'r>(header: &Header, rows: impl IntoIterator<Item = (&'r Record, &'r [RowFault])>) -> Vec<u8> {
    let report = ErrorReport::new(header);
    let mut bytes = report.header();
    for (record, faults) in rows {
        bytes.extend(report.row(record, faults));
    }
    bytes
}

/// The cell as a spreadsheet may see it.
pub fn guarded(cell: &str) -> String {
    if begins_formula(cell.trim_start_matches('\'')) { format!("'{cell}") } else { cell.to_owned() }
}

/// The cell as it was before [`guarded`].
pub(super) fn unguarded(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if begins_formula(rest.trim_start_matches('\'')) => rest,
        _ => cell,
    }
}

fn begins_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::import::column::Column;
    use crate::import::file::{FileLimits, MemberFile};
    use crate::profile::FieldFault;

    fn read(bytes: &[u8]) -> Vec<Record> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let mut file = MemberFile::open(bytes, FileLimits { rows: 1000, field_bytes: 4096 }).await.expect("header");
            let mut records = Vec::new();
            while let Some(record) = file.next().await.expect("readable") {
                records.push(record);
            }
            records
        })
    }

    fn report(records: &[Record], faults: &[RowFault]) -> Vec<u8> {
        write_report(&records[0].header, records.iter().map(|record| (record, faults)))
    }

    fn faults() -> [RowFault; 2] {
        [
            RowFault::new(Some(Column::Zip), Some("1"), FieldFault::TooLong),
            RowFault::new(None, None, FieldFault::NoSeat),
        ]
    }

    #[test]
    fn formulas_are_made_harmless_and_read_back() {
        for (cell, written) in [
            ("=1", "'=1"),
            ("+1 212", "'+1 212"),
            ("-", "'-"),
            ("@x", "'@x"),
            ("\tx", "'\tx"),
            ("\rx", "'\rx"),
            ("＝1", "'＝1"),
            ("'=1", "''=1"),
            ("O'Brien", "O'Brien"),
            ("'tis", "'tis"),
            ("", ""),
        ] {
            assert_eq!(guarded(cell), written);
            assert_eq!(unguarded(written), cell);
        }
        assert_eq!(unguarded("'x"), "'x");
    }

    #[test]
    fn the_report_is_the_file_with_three_columns_more() {
        let records =
            read(b"Email;first_name;last_name;subscription_type;Phone;Note\na@b.example;A;=B();x;+1 2;\"y;z\"\n");
        let expected = "\u{feff}Email;first_name;last_name;subscription_type;Phone;Note;error_code;error_column;error\r\n\
            a@b.example;A;'=B();x;'+1 2;\"y;z\";TOO_LONG|NO_SEAT;zip|;\"Shorten this to at most 20 characters. \
            No licence is free for this person; free or add one, then upload the row again.\"\r\n";
        assert_eq!(String::from_utf8(report(&records, &faults())).expect("UTF-8"), expected);
    }

    #[test]
    fn a_report_on_a_report_has_its_columns_once() {
        let records = read(b"error,email,first_name,last_name,subscription_type,Error Code\nold,a,b,c,d,OLD\n");
        let again = read(&report(&records, &faults()));
        assert_eq!(
            again[0].header.names(),
            ["email", "first_name", "last_name", "subscription_type", "error_code", "error_column", "error"]
        );
        assert_eq!(again[0].cells[..5], ["a", "b", "c", "d", "TOO_LONG|NO_SEAT"]);
        assert_eq!(again[0].header.unknown_names().count(), 0);
    }

    #[test]
    fn rows_of_a_wrong_width_keep_the_errors_in_their_columns() {
        let records = read(b"email,first_name,last_name,subscription_type\na,b\na,b,c,d,e,f\n");
        let again = read(&report(&records, &faults()));
        assert_eq!(again[0].cells[..5], ["a", "b", "", "", "TOO_LONG|NO_SEAT"]);
        assert_eq!(again[1].cells[4], "TOO_LONG|NO_SEAT");
        assert_eq!(again[1].cells[7..], ["e", "f"]);
        assert!(!again[1].is_aligned(), "until somebody has moved the cells beyond");
    }

    #[test]
    fn long_cells_come_back_as_they_were() {
        let (note, name) = ("n".repeat(6_000), "ü".repeat(5_000));
        let header = "Note,email,first_name,last_name,subscription_type";
        let records = read(format!("{header}\n{note},a@b.example,{name},c,d\n").as_bytes());
        assert_eq!(records[0].faults.len(), 1);
        let again = read(&report(&records, &records[0].faults));
        assert_eq!(again[0].cells[..3], [note, "a@b.example".to_owned(), name]);
    }

    proptest! {
        #[test]
        fn a_report_reads_as_what_was_reported(
            cells in prop::collection::vec("['=+\\-@\t\r\n a,;\"é＝]{0,5}", 3),
            delimiter in prop::sample::select(vec![",", ";", "\t"]),
        ) {
            let header = ["email", "first_name", "last_name", "subscription_type"].join(delimiter);
            let quoted = |cell: &str| format!("\"{}\"", cell.replace('"', "\"\""));
            let row: Vec<String> = std::iter::once("x").chain(cells.iter().map(String::as_str)).map(quoted).collect();
            let records = read(format!("{header}\n{}\n", row.join(delimiter)).as_bytes());
            let bytes = report(&records, &faults());
            let again = read(&bytes);
            prop_assert_eq!(&again[0].cells[..4], &records[0].cells[..]);
            prop_assert_eq!(&report(&again, &faults()), &bytes);
            for line in csv::ReaderBuilder::new().delimiter(delimiter.as_bytes()[0]).from_reader(&bytes[..]).records() {
                for cell in &line.expect("well-formed") {
                    prop_assert!(!begins_formula(cell));
                }
            }
        }
    }
}
