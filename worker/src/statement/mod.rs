//! Statements as files: PDF to be read and printed, CSV to be calculated with. Nothing but what is handed in goes into one, so the same
//! statement gives the same bytes each time.

mod draw;
mod face;
mod layout;
mod table;

use domain::billing::TaxRate;
use domain::billing::statement::{self as billed, LineKind};
use domain::error::Result;
use domain::export::Issued;
use domain::infra::clock::Date;
use domain::infra::money::{Currency, Money};

pub use draw::{PdfError, pdf};
pub use table::csv;

/// A statement to be shown.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The account that it is for.
    pub account_name: String,
    /// To whom it is issued.
    pub bill_to: BillTo,
    /// None for a draft.
    pub number: Option<i32>,
    /// The day it was issued on; none for a draft.
    pub issued_on: Option<Date>,
    /// The period that its recurring lines are for.
    pub period: Option<Span>,
    /// What all amounts are in.
    pub currency: Currency,
    /// What it is made of.
    pub lines: Vec<Line>,
    /// Minor units without tax.
    pub net: i64,
    /// Minor units of tax.
    pub tax: i64,
    /// Minor units with tax.
    pub total: i64,
    /// Minor units of it that were paid at once.
    pub paid: i64,
    /// Minor units that are owed.
    pub due: i64,
}

/// To whom a statement is issued.
#[derive(Clone, Debug, Default)]
pub struct BillTo {
    /// A firm or a person.
    pub name: Option<String>,
    /// Several lines.
    pub address: Option<String>,
    /// A tax id.
    pub tax_id: Option<String>,
}

/// Some days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first one.
    pub from: Date,
    /// The first one after them.
    pub until: Date,
}

/// A line of a statement.
#[derive(Clone, Debug)]
pub struct Line {
    /// What for.
    pub description: String,
    /// How many.
    pub quantity: i32,
    /// Minor units for one and a whole period.
    pub unit_price: i64,
    /// What is paid for.
    pub span: Span,
    /// Days of the period that the price is for.
    pub of_days: i32,
    /// Minor units without tax.
    pub net: i64,
    /// In parts of a million.
    pub tax_rate: i32,
    /// Minor units of tax.
    pub tax: i64,
    /// Whether it was paid at once.
    pub paid: bool,
}

impl Span {
    /// The last day.
    fn last(self) -> Date {
        self.until.plus_days(-1)
    }

    /// How many days.
    fn days(self) -> i32 {
        (self.until.0 - self.from.0).get_days()
    }
}

impl Statement {
    fn amount(&self, minor: i64) -> String {
        Money { minor, currency: self.currency }.amount()
    }

    /// `7`, or that it is a draft.
    fn number(&self) -> String {
        self.number.map_or_else(|| "Draft".to_owned(), |number| number.to_string())
    }

    /// Tax by rate, in the order of rates; without rates that bear none.
    fn taxes(&self) -> Vec<(i32, i64)> {
        let mut taxes = std::collections::BTreeMap::new();
        for line in &self.lines {
            *taxes.entry(line.tax_rate).or_insert(0) += line.tax;
        }
        taxes.into_iter().filter(|(rate, tax)| *rate != 0 || *tax != 0).collect()
    }
}

/// A rate in parts of a million as a percentage: `19`, `7.75`.
fn percent(rate: i32) -> String {
    TaxRate(rate).to_string()
}

/// What is to be shown of a statement that was read.
///
/// # Errors
/// `INVALID_CURRENCY`, should one have been taken out of ISO 4217.
pub fn of(issued: Issued) -> Result<Statement> {
    let Issued { account_name, statement, lines, period } = issued;
    let total = statement.net + statement.tax;
    Ok(Statement {
        account_name,
        bill_to: BillTo { name: statement.name, address: statement.address, tax_id: statement.tax_id },
        number: statement.number,
        issued_on: statement.issued_on,
        period: period.map(|(from, until)| Span { from, until }),
        currency: Currency::parse(&statement.currency)?,
        lines: lines.into_iter().map(line).collect(),
        net: statement.net,
        tax: statement.tax,
        total,
        paid: (total - statement.due).max(0),
        due: statement.due,
    })
}

fn line(line: billed::Line) -> Line {
    let product = line.product_name.or(line.product_id);
    let description = match (line.kind, product) {
        (LineKind::Recurring, Some(product)) => product,
        (LineKind::Added, Some(product)) => format!("{product}, added"),
        (LineKind::Trial, Some(product)) => format!("{product}, after the trial"),
        (LineKind::Credit, product) => {
            let credit = product.map_or_else(|| "Credit".to_owned(), |product| format!("{product}, credit"));
            line.reason.map_or(credit.clone(), |reason| format!("{credit}: {reason}"))
        }
        (_, None) => "Licences".to_owned(),
    };
    Line {
        description,
        quantity: line.quantity,
        unit_price: line.unit_price,
        span: Span { from: line.from_on, until: line.until_on },
        of_days: line.of_days,
        net: line.net,
        tax_rate: line.tax_rate,
        tax: line.tax,
        paid: line.paid,
    }
}

#[cfg(test)]
mod tests;
