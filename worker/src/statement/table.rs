//! A statement's lines as CSV: UTF-8 with its mark, so that spreadsheets read every name.

use domain::import::report::{BYTE_ORDER_MARK, guarded};

use super::{Statement, percent};

const COLUMNS: [&str; 14] = [
    "statement",
    "issued_on",
    "line",
    "description",
    "quantity",
    "unit_price",
    "from",
    "until",
    "days",
    "of_days",
    "net",
    "tax_percent",
    "tax",
    "paid",
];

/// Writes the lines of a statement, each with the statement's number and currency. Both days are among those paid for. Amounts are plain
/// decimal numbers, of which no spreadsheet makes a formula; texts are guarded as those of an import are.
pub fn csv(statement: &Statement) -> Vec<u8> {
    let mut builder = csv::WriterBuilder::new();
    let mut writer = builder.terminator(csv::Terminator::CRLF).from_writer(BYTE_ORDER_MARK.to_vec());
    let names = COLUMNS.into_iter().chain(["currency"]);
    writer.write_record(names).expect("a vector takes every byte");
    for (index, line) in statement.lines.iter().enumerate() {
        let cells = [
            statement.number(),
            statement.issued_on.map(|on| on.0.to_string()).unwrap_or_default(),
            (index + 1).to_string(),
            guarded(&line.description),
            line.quantity.to_string(),
            statement.amount(line.unit_price),
            line.span.from.0.to_string(),
            line.span.last().0.to_string(),
            line.span.days().to_string(),
            line.of_days.to_string(),
            statement.amount(line.net),
            percent(line.tax_rate),
            statement.amount(line.tax),
            if line.paid { "yes" } else { "no" }.to_owned(),
            statement.currency.code().to_owned(),
        ];
        writer.write_record(cells).expect("a vector takes every byte");
    }
    writer.into_inner().expect("a vector takes every byte")
}
