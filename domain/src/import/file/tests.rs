use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, ReadBuf};

use super::*;

const LIMITS: FileLimits = FileLimits { rows: 1000, field_bytes: 4096 };
const HEADER: &str = "email,first_name,last_name,subscription_type";

/// A source that hands out a few bytes at a time.
struct Dribble<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl AsyncRead for Dribble<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (now, later) = self.bytes.split_at(self.step.min(self.bytes.len()).min(buffer.remaining()));
        buffer.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
}

async fn rest<R: AsyncRead + Unpin>(mut file: MemberFile<R>) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    while let Some(record) = file.next().await? {
        assert_eq!(file.position(), file.position().after(&record));
        records.push(record);
    }
    Ok(records)
}

fn read(bytes: &[u8]) -> Result<Vec<Record>, ReadError> {
    wait(async { rest(MemberFile::open(bytes, LIMITS).await?).await })
}

fn fault(bytes: &[u8]) -> FileFault {
    match read(bytes) {
        Err(ReadError::File(fault, _)) => fault,
        other => panic!("expected a fault of the file, got {other:?}"),
    }
}

/// Row number and cells of each record below [`HEADER`].
fn rows(body: &str) -> Vec<(u32, Vec<String>)> {
    let records = read(format!("{HEADER}\n{body}").as_bytes()).expect("readable");
    records.into_iter().map(|record| (record.row, record.cells)).collect()
}

fn row(row: u32, cells: &str) -> (u32, Vec<String>) {
    (row, cells.split(',').map(str::to_owned).collect())
}

#[test]
fn rows_are_numbered_as_a_spreadsheet_shows_them() {
    let body = "a,b,c,d\n\n  ,,,\n\"x\ny\",b,c,d\r\ne,f,g,h\ri,j,k,l";
    assert_eq!(rows(body), [row(2, "a,b,c,d"), row(5, "x\ny,b,c,d"), row(6, "e,f,g,h"), row(7, "i,j,k,l")]);
}

#[test]
fn line_ends_of_every_platform_are_one_row() {
    for end in ["\n", "\r\n", "\r"] {
        let text = [HEADER, "a,b,c,d", "", "\"q\",b,c,d", ""].join(end);
        let records = read(text.as_bytes()).expect("readable");
        assert_eq!(records.iter().map(|record| record.row).collect::<Vec<_>>(), [2, 4], "{end:?}");
        assert_eq!(records[1].cells[0], "q");
    }
}

#[test]
fn delimiters_are_found_by_the_header() {
    for (delimiter, sign) in [(Delimiter::Comma, ","), (Delimiter::Semicolon, ";"), (Delimiter::Tab, "\t")] {
        let text = format!(
            "\u{feff}{}\n{}",
            HEADER.replace(',', sign),
            ["a;,", "b", "c", "d"].map(|cell| format!("\"{cell}\"")).join(sign)
        );
        let records = read(text.as_bytes()).expect("readable");
        assert_eq!(records[0].header.delimiter(), delimiter);
        assert_eq!(records[0].cells, ["a;,", "b", "c", "d"]);
        assert_eq!(records[0].cell(Column::Email), Some("a;,"));
    }
}

#[test]
fn files_without_a_usable_header_are_refused() {
    assert_eq!(fault(b""), FileFault::Empty);
    assert_eq!(fault(b"\xef\xbb\xbf\r\n\r\n"), FileFault::Empty);
    assert_eq!(fault(b",,,\n"), FileFault::Empty);
    assert_eq!(fault(b"ana@example.com,Ana,Lima,Attorney\n"), FileFault::MissingColumns(Column::REQUIRED.to_vec()));
    assert_eq!(
        fault(b"email,first_name,last_name\n").to_string(),
        "Add to the header, and fill in each row: subscription_type."
    );
    assert_eq!(fault(format!("{HEADER},Email\n").as_bytes()), FileFault::DuplicateColumn(Column::Email));
    assert_eq!(fault(format!("\"{HEADER}\n").as_bytes()), FileFault::MalformedHeader);
    assert_eq!(fault(format!("{HEADER}{}\n", ",x".repeat(300)).as_bytes()), FileFault::MalformedHeader);
    assert_eq!(fault(&vec![b'x'; 600_000]), FileFault::MalformedHeader);
}

#[test]
fn a_header_that_is_no_text_is_refused_with_its_row() {
    for bytes in [[HEADER.as_bytes(), b",Stra\xdfe\n"].concat(), [b"\n\n", HEADER.as_bytes(), b",\0\n"].concat()] {
        assert_eq!(fault(&bytes), FileFault::Encoding);
    }
    let below = format!("\n\n{HEADER},Email\n");
    assert!(matches!(read(below.as_bytes()), Err(ReadError::File(FileFault::DuplicateColumn(_), Some(3)))));
}

#[test]
fn the_line_end_of_most_rows_is_told() {
    for (body, end) in [
        ("\na,b,c,d\r\n\"x\r\ny\",b,c,d\n", Some(LineEnd::Lf)),
        ("\r\na,b,c,d\r\ne,f,g,h", Some(LineEnd::CrLf)),
        ("\ra,b,c,d\re,f,g,h\n", Some(LineEnd::Cr)),
        ("", None),
    ] {
        let file = format!("{HEADER}{body}");
        assert_eq!(wait(survey(file.as_bytes(), LIMITS)).expect("readable").line_end, end, "{body:?}");
    }
}

#[test]
fn a_cell_in_another_encoding_is_a_fault_of_its_row() {
    let bytes = [HEADER.as_bytes(), b",Note\na,M\xfcller,c,d,\ne,f,g,h,caf\xe9\n"].concat();
    let records = read(&bytes).expect("readable");
    assert_eq!(
        records[0].faults,
        [RowFault::new(Some(Column::FirstName), Some("M\u{fffd}ller"), FieldFault::InvalidEncoding)]
    );
    assert!(records[0].is_aligned());
    assert_eq!(records[1].faults, [], "what is not imported is not judged");
}

#[test]
fn rows_with_too_few_or_too_many_cells_are_faulty() {
    let records = read(format!("{HEADER},,\na,b,c\na,b,c,d,e\na,b,c,d,, \n").as_bytes()).expect("readable");
    assert_eq!(records[0].faults, [RowFault::new(None, None, FieldFault::TooFewColumns)]);
    assert_eq!(records[1].faults, [RowFault::new(None, None, FieldFault::TooManyColumns)]);
    assert_eq!(records[2].faults, [], "empty cells beyond the header are what spreadsheets add");
    assert_eq!(records[2].cells.len(), 4);
}

/// Spreadsheets leave empty cells at the end of rows out, in some rows and not in others.
#[test]
fn a_row_may_end_before_columns_that_need_no_value() {
    let file = "Note,email,phone,subscription_type,first_name,last_name,job_title,Hobby\n\
        n,a,p,d,b,c\nn,a,p,d,b,c,j\nn,a,p,d,b\nn\n";
    let records = read(file.as_bytes()).expect("readable");
    assert_eq!((&records[0].faults[..], &records[1].faults[..]), (&[][..], &[][..]));
    assert_eq!((records[0].cell(Column::Phone), records[0].cell(Column::JobTitle)), (Some("p"), None));
    assert_eq!(records[1].cell(Column::JobTitle), Some("j"));
    for short in &records[2..] {
        assert_eq!(short.faults, [RowFault::new(None, None, FieldFault::TooFewColumns)], "{}", short.row);
    }
}

#[test]
fn a_first_line_may_name_the_delimiter() {
    for (line, sign) in
        [("sep=;", ";"), ("SEP=,", ","), ("Sep=\t", "\t"), ("\"sep=;\"", ";"), ("\"sep=\";", ";"), ("sep=;;; ;", ";")]
    {
        for (mark, end) in [("", "\n"), ("\u{feff}", "\r\n"), ("", "\r")] {
            // By their names alone the columns would be taken to be separated by commas.
            let names = format!("\"a,b,phone,city,zip,state,country\"{sign}{}", HEADER.replace(',', sign));
            let row = ["x", "a", "b", "c", "d"].join(sign);
            let text = format!("{mark}{line}{end}{names}{end}{end}{row}{end}");
            let records = read(text.as_bytes()).expect("readable");
            assert_eq!((records.len(), records[0].row), (1, 4), "{text:?}: the line counts");
            assert_eq!(records[0].header.delimiter().byte(), sign.as_bytes()[0]);
            assert_eq!(records[0].cell(Column::Email), Some("a"), "{text:?}");
        }
    }
}

#[test]
fn a_line_that_names_no_delimiter_is_the_header() {
    for line in ["sep=", "sep=x", "sep=;email", "\"sep=;", "sep", "\nsep=;"] {
        let text = format!("{line}\n{}\na;b;c;d\n", HEADER.replace(',', ";"));
        assert!(matches!(read(text.as_bytes()), Err(ReadError::File(_, Some(1 | 2)))), "{text:?}");
    }
    assert_eq!(fault(b"sep=;\n"), FileFault::Empty);
    assert_eq!(fault(b"sep=;"), FileFault::Empty);
    assert_eq!(fault(b"sep=;\nemail,first_name\n"), FileFault::MissingColumns(Column::REQUIRED.to_vec()));
}

#[test]
fn how_a_file_is_written_is_known_without_a_header_that_is_any_use() {
    let format = |text: &str| wait(format_of(text.as_bytes())).expect("a slice can be read");
    let of = |delimiter, line_end, names: &[&str]| {
        Some(Format { delimiter, line_end, unknown_names: names.iter().map(|&name| name.to_owned()).collect() })
    };
    let title = "Staff of 2026\r\nemail;first_name\r\n";
    assert_eq!(format(title), of(Delimiter::Comma, Some(LineEnd::CrLf), &["Staff of 2026"]));
    let names = "sep=;\nemail;Surname; ;\"Kind\"\n";
    assert_eq!(format(names), of(Delimiter::Semicolon, Some(LineEnd::Lf), &["Surname", "Kind"]));
    assert_eq!(format("email\tfirst_name"), of(Delimiter::Tab, None, &[]));
    assert_eq!(format("a\0,b\n"), of(Delimiter::Comma, Some(LineEnd::Lf), &[]), "what is no text is not told");
    assert_eq!(format("\n\n"), None);
    let endless = tokio::io::repeat(b'x');
    assert_eq!(wait(format_of(endless)).expect("readable").map(|format| format.line_end), Some(None));
}

#[test]
fn cells_stay_whole_however_long_they_are() {
    let long = "é".repeat(5_000);
    let file = format!("{HEADER},Note,groups\na,b,c,d,{long},{long}\na,b,c,d,{}\n", "x".repeat(300_000));
    let records = read(file.as_bytes()).expect("readable");
    assert_eq!(records[0].faults, [], "what is not imported is as long as a row may be, and so are lists of names");
    assert_eq!((&records[0].cells[4], &records[0].cells[5]), (&long, &long));
    assert_eq!(records[1].faults, [RowFault::new(None, None, FieldFault::TooLong)]);
    let records = read(format!("{HEADER}\na,{},c,d\n", "é".repeat(2048)).as_bytes()).expect("readable");
    assert_eq!(records[0].faults, []);
    let records = read(format!("{HEADER}\na,x{},c,d\n", "é".repeat(2048)).as_bytes()).expect("readable");
    assert_eq!(records[0].cells[1], format!("x{}", "é".repeat(2048)), "whoever shortens it needs all of it");
    assert_eq!(records[0].faults.len(), 1);
    assert_eq!(
        (records[0].faults[0].column, records[0].faults[0].code),
        (Some(Column::FirstName), FieldFault::TooLong)
    );
    assert_eq!(records[0].faults[0].value.as_ref().map(|value| value.chars().count()), Some(200));
}

#[test]
fn a_quotation_mark_that_never_closes_costs_one_row_and_no_memory() {
    wait(async {
        let beginning = format!("{HEADER}\na,b,c,d\ne,\"");
        let endless = tokio::io::repeat(b'x').take(20_000_000);
        let mut file = MemberFile::open(beginning.as_bytes().chain(endless), LIMITS).await.expect("header");
        assert_eq!(file.next().await.expect("readable").expect("first").faults, []);
        let bad = file.next().await.expect("readable").expect("second");
        assert_eq!(bad.faults, [RowFault::new(None, None, FieldFault::MalformedRow)]);
        assert!(bad.cells.iter().map(String::len).sum::<usize>() <= raw::RECORD_BYTES);
        assert!(file.next().await.expect("readable").is_none());
    });
    assert_eq!(read(format!("{HEADER}\na,b,c,\"d\n").as_bytes()).expect("readable")[0].cells, ["a", "b", "c", "d\n"]);
    assert_eq!(read(format!("{HEADER}\na,b,c,\"d\"").as_bytes()).expect("readable")[0].faults, []);
}

#[test]
fn a_record_beyond_every_limit_is_skipped() {
    for long in [format!("\"{}\",b,c,d", "x".repeat(1_000_000)), "x,".repeat(10_000)] {
        let records = read(format!("{HEADER}\n{long}\na,b,c,d\n").as_bytes()).expect("readable");
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].faults, [RowFault::new(None, None, FieldFault::TooLong)]);
        assert_eq!((records[1].row, records[1].faults.len()), (3, 0));
    }
}

#[test]
fn the_number_of_rows_is_limited() {
    let file = |rows: usize| format!("{HEADER}\n{}\n\n,,,\n", "a,b,c,d\n".repeat(rows)).into_bytes();
    assert_eq!(read(&file(1000)).expect("readable").len(), 1000);
    assert_eq!(wait(survey(&file(1000)[..], LIMITS)).expect("readable").records, 1000);
    assert_eq!(fault(&file(1001)), FileFault::TooManyRows(1000));
    let below_a_line = |rows| [b"sep=,\n", &file(rows)[..]].concat();
    assert_eq!(read(&below_a_line(1000)).expect("readable").len(), 1000, "the line takes no row's place");
    assert_eq!(fault(&below_a_line(1001)), FileFault::TooManyRows(1000));
    let surveyed = wait(survey(&file(1001)[..], LIMITS));
    assert!(matches!(surveyed, Err(ReadError::File(FileFault::TooManyRows(1000), Some(1002)))));
}

#[test]
fn positions_are_stored_as_json() {
    let text = format!("\u{feff}{HEADER},Note\r\na");
    let file = wait(MemberFile::open(text.as_bytes(), LIMITS)).expect("header");
    let json = serde_json::to_string(&file.position()).expect("json");
    assert_eq!(serde_json::from_str::<Resume>(&json).expect("position"), file.position());
    assert_eq!((file.position().offset, file.position().row), (54, 2));
}

/// Bytes of which a parser of CSV may think the wrong thing.
fn awkward_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        &b"a"[..],
        b"b@example.com",
        b"\"",
        b"\"\"",
        b",",
        b";",
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"'",
        b"=",
        "é".as_bytes(),
        b"\xff",
        b"\xef\xbb\xbf",
        b"\0",
    ]);
    prop::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn stopping_after_every_record_changes_nothing(
        body in awkward_bytes(),
        bom in any::<bool>(),
        sep in any::<bool>(),
        step in 1usize..9,
    ) {
        let (mark, line) = (if bom { &b"\xef\xbb\xbf"[..] } else { b"" }, if sep { &b"sep=,\r\n"[..] } else { b"" });
        let bytes = [mark, line, HEADER.as_bytes(), b"\r\n", &body].concat();
        let whole = read(&bytes).expect("readable");
        wait(async {
            let mut resume = MemberFile::open(Dribble { bytes: &bytes, step }, LIMITS).await.expect("header").position();
            let mut records = Vec::new();
            loop {
                let offset = usize::try_from(resume.offset).expect("small");
                let source = Dribble { bytes: &bytes[offset..], step };
                let mut file = MemberFile::resume(source, resume.clone(), LIMITS).expect("same header");
                let Some(record) = file.next().await.expect("readable") else { break };
                assert!(record.row >= resume.row);
                resume = resume.after(&record);
                assert_eq!(resume, file.position());
                records.push(record);
            }
            assert_eq!(records, whole);
            let surveyed = survey(&bytes[..], LIMITS).await.expect("readable");
            assert_eq!(surveyed.records as usize, whole.len());
        });
    }

    #[test]
    fn cells_are_those_that_a_csv_writer_wrote(
        table in prop::collection::vec(prop::collection::vec("[a-z'\" ,;\t\r\né=+-]{0,6}", 3), 0..12),
        delimiter in prop::sample::select(Delimiter::ALL.to_vec()),
        crlf in any::<bool>(),
    ) {
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut builder = csv::WriterBuilder::new();
        let mut writer = builder.delimiter(delimiter.byte()).terminator(terminator).from_writer(Vec::new());
        writer.write_record(HEADER.split(',')).expect("written");
        let filled = |row: Vec<String>| std::iter::once("x".to_owned()).chain(row).collect();
        let table: Vec<Vec<String>> = table.into_iter().map(filled).collect();
        for row in &table {
            writer.write_record(row).expect("written");
        }
        let records = read(&writer.into_inner().expect("written")).expect("readable");
        let read_back = |row: &Vec<String>| row.iter().map(|cell| report::unguarded(cell).to_owned()).collect();
        let expected: Vec<Vec<String>> = table.iter().map(read_back).collect();
        let found: Vec<Vec<String>> = records.iter().map(|record| record.cells.clone()).collect();
        prop_assert_eq!(found, expected);
        for (index, record) in records.iter().enumerate() {
            prop_assert_eq!(record.row as usize, index + 2);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read(&bytes));
        drop(read(&[HEADER.as_bytes(), b"\n", &bytes].concat()));
    }
}
