//! Files as the programs of this world write them.

use std::fmt::Write as _;

use domain::import::column::{Delimiter, LineEnd};
use domain::import::encoding::Encoding;
use domain::import::{Options, Step};
use domain::upload;

use super::world::World;

const FILE: &str = "Email;FIRST_NAME;Last Name;subscription_type\r\nzoe@firm.example;Zoë;Müller;Attorney\r\n\r\n\
    ann@firm.example;\"Ann\";Lee;non-attorney\r\n";

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

/// Of letters that both know.
fn windows_1252(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

#[tokio::test]
async fn every_encoding_is_found_out_and_told() {
    for (bytes, encoding, mark) in [
        (FILE.as_bytes().to_vec(), Encoding::Utf8, false),
        (format!("\u{feff}{FILE}").into_bytes(), Encoding::Utf8, true),
        (utf16(&format!("\u{feff}{FILE}"), u16::to_le_bytes), Encoding::Utf16Le, true),
        (utf16(&format!("\u{feff}{FILE}"), u16::to_be_bytes), Encoding::Utf16Be, true),
        (utf16(FILE, u16::to_le_bytes), Encoding::Utf16Le, false),
        (windows_1252(FILE), Encoding::Windows1252, false),
    ] {
        let world = World::new(10).await;
        let read = world.read(world.import(&bytes, Options::default()).await).await;
        assert_eq!((read.rows_invited, read.rows_rejected, read.rows_total), (2, 0, Some(2)), "{encoding:?}");
        assert_eq!((read.encoding, read.byte_order_mark), (Some(encoding), Some(mark)));
        assert_eq!((read.delimiter, read.line_end), (Some(Delimiter::Semicolon), Some(LineEnd::CrLf)));
        let sql = "SELECT count(*) FROM member WHERE first_name = 'Zoë' AND last_name = 'Müller'";
        assert_eq!(world.count(sql).await, 1, "{encoding:?}");
        world.end().await;
    }
}

/// Only the names of columns, the addresses and the separators are Latin letters.
#[tokio::test]
async fn utf_16_without_a_mark_is_found_out_in_other_scripts() {
    let header = "email;first_name;last_name;subscription_type;Заметка\r\n";
    let rows = (0..60).fold(header.to_owned(), |mut rows, n| {
        let people = ["Анна;Каренина-Облонская;Attorney;Ведущий специалист отдела", "Μαρία;Παπαδοπούλου;Attorney;"];
        write!(rows, "p{n}@firm.example;{}\r\n", people[n % 2]).unwrap();
        rows
    });
    for (unit, encoding) in
        [(u16::to_le_bytes as fn(u16) -> [u8; 2], Encoding::Utf16Le), (u16::to_be_bytes, Encoding::Utf16Be)]
    {
        let world = World::new(70).await;
        let read = world.read(world.import(&utf16(&rows, unit), Options::default()).await).await;
        assert_eq!((read.rows_invited, read.encoding), (60, Some(encoding)), "{:?}", read.error_message);
        assert_eq!(world.count("SELECT count(*) FROM member WHERE last_name = 'Παπαδοπούλου'").await, 30);
        world.end().await;
    }
}

#[tokio::test]
async fn a_line_for_spreadsheets_that_names_the_separator_is_passed_over() {
    let world = World::new(10).await;
    let file = format!("sep=;\r\n{FILE}nobody;A;B;Attorney\r\n");
    let import = world.import(file.as_bytes(), Options::default()).await;
    let read = world.read(import).await;
    assert_eq!((read.rows_invited, read.rows_total), (2, Some(3)));
    assert_eq!((read.delimiter, read.line_end), (Some(Delimiter::Semicolon), Some(LineEnd::CrLf)));
    assert_eq!(world.rejected(import).await, [(6, vec!["INVALID_EMAIL"])], "the line counts as a row");
    world.end().await;
}

/// A worker goes on in the middle of a file that has to be decoded.
#[tokio::test]
async fn a_file_in_another_encoding_goes_on_where_it_stopped() {
    let world = World::new(2_000).await;
    let header = "\u{feff}email\tfirst_name\tlast_name\tsubscription_type\r";
    let text = (0..1_200).fold(header.to_owned(), |mut text, n| {
        write!(text, "p{n:04}@firm.example\tZoë\tÜ{n}\tAttorney\r").unwrap();
        text
    });
    let file = utf16(&text, u16::to_le_bytes);
    let import = world.start(&world.owner, &file, false).await;
    for _ in 0..6 {
        let job = world.claim().await;
        let mut run = world.run_of(&job, import);
        assert_eq!(run.step().await.unwrap(), Step::Going);
        let ended = run.step().await.unwrap() == Step::Ended;
        if ended || !world.lapse_lease(&job).await {
            break;
        }
    }
    let read = world.read(import).await;
    assert_eq!((read.rows_invited, read.line_end, read.finished_at.is_some()), (1_200, Some(LineEnd::Cr), true));
    assert_eq!(world.count("SELECT count(DISTINCT last_name) FROM member WHERE last_name LIKE 'Ü%'").await, 1_200);
    world.end().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_says_in_which_row_and_why() {
    for (file, code, row) in [
        (&b"\n\nemail,email,first_name,last_name,subscription_type\n"[..], "DUPLICATE_COLUMN", Some(3)),
        (b"email,first_name\n", "MISSING_COLUMN", Some(1)),
        (b"", "EMPTY_FILE", None),
        (b"email,first_name,last_name,subscription_type\n\n,,,\n", "EMPTY_FILE", None),
        (b"email,first_name,last_name,subscription_type,\0x\n", "INVALID_ENCODING", Some(1)),
    ] {
        let world = World::new(10).await;
        let read = world.read(world.import(file, Options::default()).await).await;
        assert_eq!((read.error_code.as_deref(), read.error_row), (Some(code), row));
        let message = read.error_message.unwrap();
        assert!(message.ends_with('.') && message.starts_with("Row ") == row.is_some(), "{message}");
        world.end().await;
    }
}

/// Whoever mends the file sees what was made of it; the names in it go with the file.
#[tokio::test]
async fn a_header_that_is_no_use_is_told_with_how_it_was_read() {
    let title = "Staff of \"2026\"\u{2066}\r\nemail;first_name\r\n";
    let many = format!("email\t{}\n", (0..30).map(|n| format!("Column {n}")).collect::<Vec<_>>().join("\t"));
    let expected: [(Vec<u8>, _, _, _, &str); 4] = [
        (
            b"email|first_name|last_name|subscription_type\na|b|c|d\n".to_vec(),
            Encoding::Utf8,
            Delimiter::Comma,
            LineEnd::Lf,
            " The row was read as separated by commas. Names in it that are not known: \"email|first_name|last_name|subscription_…\".",
        ),
        (
            utf16(title, u16::to_le_bytes),
            Encoding::Utf16Le,
            Delimiter::Comma,
            LineEnd::CrLf,
            "commas. Names in it that are not known: \"Staff of '2026'\u{fffd}\".",
        ),
        (many.into_bytes(), Encoding::Utf8, Delimiter::Tab, LineEnd::Lf, "\"Column 8\", \"Column 9\" and 20 more."),
        (
            b"sep=;\remail;first_name;last_name;E-Mail;subscription_type\r".to_vec(),
            Encoding::Utf8,
            Delimiter::Semicolon,
            LineEnd::Cr,
            "The header has email twice; remove one of them. The row was read as separated by semicolons.",
        ),
    ];
    for (file, encoding, delimiter, line_end, message) in expected {
        let world = World::new(10).await;
        let import = world.import(&file, Options::default()).await;
        let read = world.read(import).await;
        assert_eq!((read.encoding, read.byte_order_mark), (Some(encoding), Some(false)));
        assert_eq!((read.delimiter, read.line_end), (Some(delimiter), Some(line_end)));
        let told = read.error_message.unwrap();
        assert!(told.starts_with("Row ") && told.ends_with(message), "{told}");

        let later = world.db.now().await.unwrap() + upload::FILE_LIFETIME;
        upload::purge_expired(&world.db, &world.files, later).await.unwrap();
        let told = world.read(import).await.error_message.unwrap();
        assert!(told.ends_with(&format!("separated by {}.", plural(delimiter))), "{told}");
        world.end().await;
    }
}

fn plural(delimiter: Delimiter) -> &'static str {
    match delimiter {
        Delimiter::Comma => "commas",
        Delimiter::Semicolon => "semicolons",
        Delimiter::Tab => "tabulators",
    }
}

/// It arrived in pieces in which nothing was recognised.
#[tokio::test]
async fn a_spreadsheets_own_file_is_refused_as_a_whole() {
    let world = World::new(10).await;
    let upload = world.create_upload(&world.owner).await;
    world.put_in_pieces(upload, b"PK\x03\x04\x14\x00\x06\x00a spreadsheet", 2).await.unwrap();
    let import = world.start_of(&world.owner, upload, Options::default()).await.unwrap();
    world.work_of(import).await;
    assert_eq!(world.read(import).await.error_code.as_deref(), Some("NOT_TEXT"));
    world.end().await;
}
