use std::io::Write as _;
use std::process::{Command, Stdio};

use super::layout::{BOTTOM, HEAD, LATER_TOP, paginate};
use super::*;

fn date(text: &str) -> Date {
    Date(text.parse().expect("a date"))
}

fn span(from: &str, until: &str) -> Span {
    Span { from: date(from), until: date(until) }
}

fn line(description: &str, net: i64) -> Line {
    Line {
        description: description.to_owned(),
        quantity: 12,
        unit_price: 4_900,
        span: span("2026-03-01", "2026-04-01"),
        of_days: 31,
        net,
        tax_rate: 190_000,
        tax: net * 19 / 100,
        paid: false,
    }
}

fn statement(lines: Vec<Line>) -> Statement {
    let (net, tax) = (lines.iter().map(|line| line.net).sum(), lines.iter().map(|line| line.tax).sum::<i64>());
    let paid = lines.iter().filter(|line| line.paid).map(|line| line.net + line.tax).sum();
    Statement {
        account_name: "Harbor & Finch LLP".to_owned(),
        bill_to: BillTo {
            name: Some("Harbor & Finch LLP, Rechnungswesen".to_owned()),
            address: Some("Große Straße 7\n50667 Köln\nΕλλάδα · Україна".to_owned()),
            tax_id: Some("DE123456789".to_owned()),
        },
        number: Some(7),
        issued_on: Some(date("2026-03-01")),
        period: Some(span("2026-03-01", "2026-04-01")),
        currency: Currency::parse("EUR").expect("a currency"),
        lines,
        net,
        tax,
        total: net + tax,
        paid,
        due: net + tax - paid,
    }
}

/// Some lines of each kind.
fn usual() -> Statement {
    let added = Line {
        quantity: 3,
        span: span("2026-02-12", "2026-03-01"),
        of_days: 28,
        paid: true,
        ..line("Base licence, added", 8_925)
    };
    let credit =
        Line { quantity: 1, tax_rate: 70_000, tax: -84, ..line("Credit for the outage of 3 February", -1_200) };
    let long = line(
        "Research add-on with the case law of every court of the Union, in all of its languages and editions",
        18_000,
    );
    statement(vec![line("Base licence", 58_800), long, added, credit])
}

/// What another program reads in a file, page by page.
fn read(pdf: &[u8]) -> Vec<String> {
    let mut reader = Command::new("pdftotext")
        .args(["-layout", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("pdftotext: install poppler-utils");
    reader.stdin.take().expect("piped").write_all(pdf).expect("it reads");
    let output = reader.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split_terminator('\u{c}').map(str::to_owned).collect()
}

#[test]
fn a_statement_says_all_that_is_in_it() {
    let bytes = pdf(&usual()).expect("a file");
    if let Ok(path) = std::env::var("STATEMENT_PDF") {
        std::fs::write(path, &bytes).expect("a place to look at it");
    }
    assert!(bytes.starts_with(b"%PDF-1."));
    let pages = read(&bytes);
    assert_eq!(pages.len(), 1);
    let words: Vec<&str> = pages[0].split_whitespace().collect();
    let text = words.join(" ");
    for wanted in [
        "Statement Harbor & Finch LLP",
        "Große Straße 7",
        "Ελλάδα · Україна",
        "Tax ID DE123456789",
        "Issued on 1 Mar 2026",
        "Period 1 Mar 2026 – 31 Mar 2026",
        "Base licence 12 49.00 588.00 19% 111.72",
        "1 Mar 2026 – 31 Mar 2026",
        "Base licence, added 3 49.00 89.25 19% 16.95",
        "12 Feb 2026 – 28 Feb 2026, 17 of 28 days, paid",
        "February 1 49.00 -12.00 7% -0.84",
        "Net 845.25",
        "Tax 7% -0.84",
        "Tax 19% 162.87",
        "Total 1007.28",
        "Paid -106.20",
        "Amount due EUR 901.08",
        "Page 1 of 1",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
}

#[test]
fn a_long_statement_goes_over_pages_that_each_name_its_columns() {
    let lines: Vec<Line> = (1..=120).map(|number| line(&format!("Licence number {number:03}"), 100)).collect();
    let pages = read(&pdf(&statement(lines)).expect("a file"));
    assert!(pages.len() > 3, "{}", pages.len());
    let mut next = 1;
    for (index, page) in pages.iter().enumerate() {
        assert!(page.contains("Description") && page.contains("Unit price"), "page {}: {page}", index + 1);
        assert!(page.contains(&format!("Page {} of {}", index + 1, pages.len())), "{page}");
        assert_eq!(page.contains("Amount due"), index + 1 == pages.len(), "the sums stand at the end");
        while page.contains(&format!("Licence number {next:03}")) {
            next += 1;
        }
    }
    assert_eq!(next, 121, "each line once, in their order");
}

#[test]
fn the_same_statement_gives_the_same_bytes() {
    assert!(pdf(&usual()).expect("a file") == pdf(&usual()).expect("a file"));
    assert_eq!(csv(&usual()), csv(&usual()));
}

#[test]
fn a_draft_of_nothing_and_sums_beyond_all_measure_can_be_shown() {
    let mut draft = statement(Vec::new());
    (draft.number, draft.issued_on, draft.period, draft.bill_to) = (None, None, None, BillTo::default());
    let text = read(&pdf(&draft).expect("a file")).concat();
    assert!(text.contains("Draft") && text.contains("EUR 0.00") && !text.contains("BILLED TO"), "{text}");
    let huge = Line { unit_price: i64::MAX / 4, quantity: i32::MAX, ..line(&"W".repeat(300), i64::MIN / 4000) };
    let text = read(&pdf(&statement(vec![huge])).expect("a file")).concat();
    assert!(text.contains("23058430092136939.51"), "{text}");
}

#[test]
fn pages_are_filled_and_sums_are_not_parted() {
    let room = BOTTOM - 100.0 - HEAD;
    let pages = paginate(&[room / 4.0; 4], 100.0, 1.0);
    assert_eq!(pages.iter().map(|page| page.lines.clone()).collect::<Vec<_>>(), [0..3, 3..4], "no room for the sums");
    assert!((pages[1].end - (LATER_TOP + HEAD + room / 4.0)).abs() < 0.01);
    let pages = paginate(&[room / 4.0; 5], 100.0, 1.0);
    assert_eq!(pages.iter().map(|page| page.lines.clone()).collect::<Vec<_>>(), [0..4, 4..5]);
    let pages = paginate(&[room], 100.0, 1.0);
    assert_eq!(pages.iter().map(|page| page.lines.clone()).collect::<Vec<_>>(), [0..1, 1..1], "nothing to take along");
    let pages = paginate(&[2.0 * room, 1.0], 100.0, 1.0);
    assert_eq!(
        pages.iter().map(|page| page.lines.clone()).collect::<Vec<_>>(),
        [0..1, 1..2],
        "a line that fits nowhere stands alone"
    );
}

#[test]
fn the_table_can_be_calculated_with_and_holds_no_formula() {
    let mut statement = usual();
    statement.lines[0].description = "=1+1; \"licence\"".to_owned();
    let text = String::from_utf8(csv(&statement)).expect("UTF-8");
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(
        lines[0],
        "\u{feff}statement,issued_on,line,description,quantity,unit_price,from,until,days,of_days,net,tax_percent,tax,paid,currency"
    );
    assert_eq!(
        lines[1],
        "7,2026-03-01,1,\"'=1+1; \"\"licence\"\"\",12,49.00,2026-03-01,2026-03-31,31,31,588.00,19,111.72,no,EUR"
    );
    assert_eq!(
        lines[3],
        "7,2026-03-01,3,\"Base licence, added\",3,49.00,2026-02-12,2026-02-28,17,28,89.25,19,16.95,yes,EUR"
    );
    assert_eq!(
        lines[4],
        "7,2026-03-01,4,Credit for the outage of 3 February,1,49.00,2026-03-01,2026-03-31,31,31,-12.00,7,-0.84,no,EUR"
    );
    assert_eq!(lines.len(), 5);
}

#[test]
fn rates_are_percentages() {
    for (rate, text) in [(0, "0"), (190_000, "19"), (77_500, "7.75"), (1, "0.0001"), (1_000_000, "100")] {
        assert_eq!(percent(rate), text);
    }
}
