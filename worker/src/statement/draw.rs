//! A statement as PDF: A4, with the names of the columns on each page, and its number and the page's at the foot.

use domain::infra::clock::Date;
use krilla::Document;
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::surface::Surface;

use super::face::{Face, Faces};
use super::layout::{A4, HEAD, Page, RIGHT, SIDE, paginate};
use super::{Line, Statement, percent};

/// A statement could not be written as PDF.
#[derive(Debug, thiserror::Error)]
#[error("the statement cannot be written as PDF: {0}")]
pub struct PdfError(String);

const TEXT: f32 = 9.0;
const SMALL: f32 = 7.5;
const LEADING: f32 = 12.5;
/// White space above and below what a line says.
const PAD: f32 = 6.0;
/// How far rules and shades reach beyond what is written.
const MARGIN: f32 = 6.0;

const INK: (u8, u8, u8) = (28, 32, 38);
const GREY: (u8, u8, u8) = (104, 112, 122);
const RULE: (u8, u8, u8) = (214, 218, 223);
const SHADE: (u8, u8, u8) = (243, 245, 247);

/// Where numbers of each column end, and how wide they may be.
const COLUMNS: [(&str, f32, f32); 5] = [
    ("Quantity", 280.0, 46.0),
    ("Unit price", 356.0, 70.0),
    ("Net", 432.0, 70.0),
    ("Tax rate", 478.0, 42.0),
    ("Tax", RIGHT, 58.0),
];
const DESCRIPTION: f32 = 168.0;

/// Writes a statement.
///
/// # Errors
/// What the library says; no statement is known for which it says anything.
pub fn pdf(statement: &Statement) -> Result<Vec<u8>, PdfError> {
    let faces = Faces::built_in();
    let described: Vec<Vec<String>> =
        statement.lines.iter().map(|line| faces.regular.wrapped(&line.description, TEXT, DESCRIPTION)).collect();
    let heights: Vec<f32> = described.iter().map(|lines| height(lines.len())).collect();
    let head = Opening::of(statement, &faces);
    let sums = sums(statement);
    let pages = paginate(&heights, head.end, sums_height(sums.len()));
    let mut document = Document::new();
    document.set_metadata(Metadata::new().title(title(statement)).authors(vec![Face::shown(&statement.account_name)]));
    for (index, page) in pages.iter().enumerate() {
        let settings = PageSettings::from_wh(A4.0, A4.1).expect("a page has a size");
        let mut sheet = document.start_page_with(settings);
        {
            let mut canvas = Canvas { surface: sheet.surface(), faces: &faces };
            if index == 0 {
                head.draw(&mut canvas);
            } else {
                canvas.left(&faces.bold, (SIDE, 64.0), 11.0, INK, &title(statement));
            }
            canvas.table(statement, &described, page);
            if index + 1 == pages.len() {
                canvas.sums(&sums, page.end);
            }
            canvas.foot(statement, index + 1, pages.len());
        }
        sheet.finish();
    }
    document.finish().map_err(|error| PdfError(format!("{error:?}")))
}

fn title(statement: &Statement) -> String {
    match statement.number {
        Some(number) => format!("Statement {number}"),
        None => "Statement (draft)".to_owned(),
    }
}

fn count(number: usize) -> f32 {
    f32::from(u16::try_from(number).unwrap_or(u16::MAX))
}

/// Of a line whose description takes so many.
fn height(lines: usize) -> f32 {
    2.0 * PAD + count(lines + 1) * LEADING - 1.5
}

fn day(date: Date) -> String {
    date.0.strftime("%-d %b %Y").to_string()
}

/// What stands above the first table.
struct Opening {
    title: String,
    account: Vec<String>,
    bill_to: Vec<(bool, String)>,
    facts: Vec<(&'static str, String)>,
    end: f32,
}

impl Opening {
    fn of(statement: &Statement, faces: &Faces) -> Self {
        const WIDTH: f32 = 250.0;
        let mut bill_to = Vec::new();
        let to = &statement.bill_to;
        for name in to.name.iter().flat_map(|name| faces.bold.wrapped(name, TEXT, WIDTH)) {
            bill_to.push((true, name));
        }
        for line in to.address.iter().flat_map(|address| address.lines()) {
            bill_to.extend(faces.regular.wrapped(line, TEXT, WIDTH).into_iter().map(|line| (false, line)));
        }
        if let Some(tax_id) = &to.tax_id {
            bill_to.extend(
                faces.regular.wrapped(&format!("Tax ID {tax_id}"), TEXT, WIDTH).into_iter().map(|line| (false, line)),
            );
        }
        let mut told = vec![("Number", statement.number())];
        told.extend(statement.issued_on.map(|on| ("Issued on", day(on))));
        told.extend(
            statement.period.map(|period| ("Period", format!("{} – {}", day(period.from), day(period.last())))),
        );
        told.push(("Currency", statement.currency.code().to_owned()));
        let account = faces.regular.wrapped(&statement.account_name, 11.0, RIGHT - SIDE);
        let below = 112.0 + count(account.len()) * 15.0;
        let end = below + 22.0 + count(bill_to.len().max(told.len())) * 14.0 + 18.0;
        Self { title: "Statement".to_owned(), account, bill_to, facts: told, end }
    }

    fn draw(&self, canvas: &mut Canvas<'_, '_>) {
        let faces = canvas.faces;
        canvas.left(&faces.bold, (SIDE, 84.0), 24.0, INK, &self.title);
        let mut y = 106.0;
        for line in &self.account {
            canvas.left(&faces.regular, (SIDE, y), 11.0, GREY, line);
            y += 15.0;
        }
        y += 20.0;
        if !self.bill_to.is_empty() {
            canvas.left(&faces.bold, (SIDE, y), SMALL, GREY, "BILLED TO");
        }
        let facts_left = 356.0;
        canvas.left(&faces.bold, (facts_left, y), SMALL, GREY, "DETAILS");
        for (index, (strong, line)) in self.bill_to.iter().enumerate() {
            let face = if *strong { &faces.bold } else { &faces.regular };
            canvas.left(face, (SIDE, y + 16.0 + count(index) * 14.0), TEXT, INK, line);
        }
        for (index, (name, fact)) in self.facts.iter().enumerate() {
            let y = y + 16.0 + count(index) * 14.0;
            canvas.left(&faces.regular, (facts_left, y), TEXT, GREY, name);
            canvas.fitted(&faces.regular, (RIGHT, y), TEXT, RIGHT - facts_left - 50.0, fact);
        }
    }
}

/// A sum: what it is called, how much, and whether it is what matters.
type Sum = (String, String, bool);

/// What stands below the last line.
fn sums(statement: &Statement) -> Vec<Sum> {
    let mut sums = vec![("Net".to_owned(), statement.amount(statement.net), false)];
    let taxes = statement.taxes();
    for (rate, tax) in &taxes {
        sums.push((format!("Tax {}%", percent(*rate)), statement.amount(*tax), false));
    }
    if taxes.is_empty() {
        sums.push(("Tax".to_owned(), statement.amount(statement.tax), false));
    }
    sums.push(("Total".to_owned(), statement.amount(statement.total), true));
    if statement.paid != 0 {
        sums.push(("Paid".to_owned(), statement.amount(-statement.paid), false));
    }
    let code = statement.currency.code();
    sums.push(("Amount due".to_owned(), format!("{code} {}", statement.amount(statement.due)), true));
    sums
}

fn sums_height(sums: usize) -> f32 {
    16.0 + count(sums) * 18.0
}

/// A page that is being drawn.
struct Canvas<'s, 'f> {
    surface: Surface<'s>,
    faces: &'f Faces,
}

impl Canvas<'_, '_> {
    fn ink(&mut self, (red, green, blue): (u8, u8, u8)) {
        self.surface.set_fill(Some(Fill { paint: rgb::Color::new(red, green, blue).into(), ..Fill::default() }));
    }

    fn left(&mut self, face: &Face, (x, y): (f32, f32), size: f32, ink: (u8, u8, u8), text: &str) {
        let text = Face::shown(text);
        self.ink(ink);
        self.surface.draw_glyphs(Point::from_xy(x, y), &face.glyphs(&text), face.font.clone(), &text, size, false);
    }

    fn right(&mut self, face: &Face, (x, y): (f32, f32), size: f32, ink: (u8, u8, u8), text: &str) {
        let width = face.width(&Face::shown(text), size);
        self.left(face, (x - width, y), size, ink, text);
    }

    /// Ends at `x`; smaller where it would be wider than there is room.
    fn fitted(&mut self, face: &Face, at: (f32, f32), size: f32, room: f32, text: &str) {
        let width = face.width(&Face::shown(text), size);
        self.right(face, at, if width > room { size * room / width } else { size }, INK, text);
    }

    fn block(&mut self, (left, top): (f32, f32), (width, height): (f32, f32), ink: (u8, u8, u8)) {
        let mut path = PathBuilder::new();
        path.push_rect(Rect::from_xywh(left, top, width, height).expect("a block has a size"));
        self.ink(ink);
        self.surface.draw_path(&path.finish().expect("a rectangle is a path"));
    }

    fn rule(&mut self, left: f32, y: f32) {
        self.block((left - MARGIN, y), (RIGHT - left + 2.0 * MARGIN, 0.6), RULE);
    }

    fn table(&mut self, statement: &Statement, described: &[Vec<String>], page: &Page) {
        let faces = self.faces;
        self.block((SIDE - MARGIN, page.top), (RIGHT - SIDE + 2.0 * MARGIN, HEAD - 4.0), SHADE);
        let y = page.top + 12.0;
        self.left(&faces.bold, (SIDE, y), SMALL, GREY, "Description");
        for (name, end, _) in COLUMNS {
            self.right(&faces.bold, (end, y), SMALL, GREY, name);
        }
        let mut top = page.top + HEAD;
        for index in page.lines.clone() {
            self.line(statement, &statement.lines[index], &described[index], top);
            top += height(described[index].len());
            self.rule(SIDE, top - 1.0);
        }
    }

    fn line(&mut self, statement: &Statement, line: &Line, described: &[String], top: f32) {
        let faces = self.faces;
        let first = top + PAD + 6.5;
        for (index, text) in described.iter().enumerate() {
            self.left(&faces.regular, (SIDE, first + count(index) * LEADING), TEXT, INK, text);
        }
        let cells = [
            line.quantity.to_string(),
            statement.amount(line.unit_price),
            statement.amount(line.net),
            format!("{}%", percent(line.tax_rate)),
            statement.amount(line.tax),
        ];
        for ((_, end, room), cell) in COLUMNS.into_iter().zip(&cells) {
            self.fitted(&faces.regular, (end, first), TEXT, room, cell);
        }
        let (span, paid) = (line.span, if line.paid { ", paid" } else { "" });
        let days = if span.days() == line.of_days {
            String::new()
        } else {
            format!(", {} of {} days", span.days(), line.of_days)
        };
        let note = format!("{} – {}{days}{paid}", day(span.from), day(span.last()));
        self.left(&faces.regular, (SIDE, first + count(described.len()) * LEADING - 0.5), SMALL, GREY, &note);
    }

    fn sums(&mut self, sums: &[Sum], end: f32) {
        const LEFT: f32 = 330.0;
        let faces = self.faces;
        let mut y = end + 22.0;
        for (name, amount, strong) in sums {
            let face = if *strong { &faces.bold } else { &faces.regular };
            if *strong {
                self.rule(LEFT, y - 12.5);
            }
            self.left(face, (LEFT, y), TEXT, INK, name);
            self.fitted(face, (RIGHT, y), TEXT, 130.0, amount);
            y += 18.0;
        }
    }

    fn foot(&mut self, statement: &Statement, page: usize, pages: usize) {
        let (faces, y) = (self.faces, A4.1 - 40.0);
        let page = format!("Page {page} of {pages}");
        let room = RIGHT - SIDE - faces.regular.width(&page, SMALL) - 20.0;
        let left = format!("{} · {}", title(statement), statement.account_name);
        let left = faces.regular.wrapped(&left, SMALL, room).swap_remove(0);
        self.rule(SIDE, y - 14.0);
        self.left(&faces.regular, (SIDE, y), SMALL, GREY, &left);
        self.right(&faces.regular, (RIGHT, y), SMALL, GREY, &page);
    }
}
