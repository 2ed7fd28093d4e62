//! A CSV file of members, read record by record.
//!
//! The source is UTF-8, as [`super::encoding::decoded`] makes it of any file.
//! What spreadsheets write is understood: a byte order mark, a first line `sep=;`, `,` `;` or tabulators, any line ends, rows of
//! nothing but separators, rows that end with their last value, unnamed cells to the right. Memory stays the same whatever the
//! file holds: a record longer than 256 KB or 256 cells is cut and faulty. Nothing but the position is needed to go on in another
//! process.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::FailureCode;
use super::column::{Column, Delimiter, Header, HeaderFault, LineEnd, Meaning, unknown};
use super::raw::{self, RawReader, RawRecord, Window};
use super::report;
use super::row::RowFault;
use crate::infra::config;
use crate::profile::FieldFault;

/// Bytes of a file that show how it is written.
const BEGINNING: u64 = 64 * 1024;
/// Bytes of a first line that may name the separator.
const SEP_LINE: usize = 512;

/// What a file may hold.
#[derive(Clone, Copy, Debug)]
pub struct FileLimits {
    /// Rows below the first, counted as a spreadsheet does: empty ones between others count.
    pub rows: u32,
    /// Bytes of a cell that is imported. Lists of names are as long as a row may be.
    pub field_bytes: usize,
}

impl From<&config::Limits> for FileLimits {
    fn from(limits: &config::Limits) -> Self {
        Self { rows: limits.import_rows, field_bytes: limits.import_field_bytes }
    }
}

impl FileLimits {
    /// Looks at a record of a file whose text begins in row `first`.
    fn check(&self, raw: &RawRecord<'_>, first: u32) -> Result<(), ReadError> {
        if raw.row.saturating_sub(first) > self.rows {
            return Err(ReadError::File(FileFault::TooManyRows(self.rows), Some(raw.row)));
        }
        Ok(())
    }

    /// Bytes that a cell of a column may have.
    fn of(&self, column: Column) -> usize {
        if column.is_list() { raw::RECORD_BYTES } else { self.field_bytes }
    }
}

/// Why nothing of a file can be imported. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// The private format of a spreadsheet, or something else that is no text.
    NotText,
    /// A header with letters of another encoding than the rest of the file.
    Encoding,
    /// No row at all.
    Empty,
    /// A header with nothing below it.
    NoRows,
    /// The first row is no header.
    MalformedHeader,
    /// Required columns are missing.
    MissingColumns(Vec<Column>),
    /// The header has a column twice.
    DuplicateColumn(Column),
    /// More rows than [`FileLimits::rows`], which is repeated here.
    TooManyRows(u32),
}

impl FileFault {
    /// The code for programs.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::NotText => FailureCode::NotText,
            Self::Encoding => FailureCode::InvalidEncoding,
            Self::Empty | Self::NoRows => FailureCode::EmptyFile,
            Self::MalformedHeader => FailureCode::MalformedHeader,
            Self::MissingColumns(_) => FailureCode::MissingColumn,
            Self::DuplicateColumn(_) => FailureCode::DuplicateColumn,
            Self::TooManyRows(_) => FailureCode::TooManyRows,
        }
    }

    /// The columns it is about.
    pub fn columns(&self) -> &[Column] {
        match self {
            Self::MissingColumns(columns) => columns,
            Self::DuplicateColumn(column) => std::slice::from_ref(column),
            Self::NotText
            | Self::Encoding
            | Self::Empty
            | Self::NoRows
            | Self::MalformedHeader
            | Self::TooManyRows(_) => &[],
        }
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingColumns(columns) => {
                let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
                write!(formatter, "Add to the header, and fill in each row: {}.", names.join(", "))
            }
            Self::DuplicateColumn(column) => write!(formatter, "The header has {column} twice; remove one of them."),
            Self::TooManyRows(limit) => {
                write!(formatter, "The file has more than {limit} rows; split it into several.")
            }
            Self::NoRows => formatter.write_str(
                "There is nothing to import: the file has names of columns but no row below them. Add a row for each person.",
            ),
            Self::NotText | Self::Encoding | Self::Empty | Self::MalformedHeader => {
                formatter.write_str(self.code().sentence())
            }
        }
    }
}

impl std::error::Error for FileFault {}

impl From<HeaderFault> for FileFault {
    fn from(fault: HeaderFault) -> Self {
        match fault {
            HeaderFault::Duplicate(column) => Self::DuplicateColumn(column),
            HeaderFault::Missing(columns) => Self::MissingColumns(columns),
        }
    }
}

/// Why reading ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The uploader must mend the file; with the row at which that was found.
    #[error("{0}")]
    File(FileFault, Option<u32>),
    /// The file could not be read; it may be, later.
    #[error("the uploaded file could not be read")]
    Io(#[from] io::Error),
}

impl From<FileFault> for ReadError {
    fn from(fault: FileFault) -> Self {
        Self::File(fault, None)
    }
}

/// Where to go on: enough for [`MemberFile::resume`], without the beginning of the file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Resume {
    /// Byte of the file at which the next row begins.
    pub offset: u64,
    /// That row, counted as in [`Record::row`].
    pub row: u32,
    /// The row in which the text of the file begins: 2 below a line that names the separator, or else 1.
    pub first_row: u32,
    /// What separates cells.
    pub delimiter: Delimiter,
    /// The names of the header.
    pub names: Vec<String>,
}

impl Resume {
    /// The same file at another record: right behind `record`.
    #[must_use]
    pub fn after(self, record: &Record) -> Self {
        Self { offset: record.end, row: record.row.saturating_add(1), ..self }
    }
}

/// One row of the file. `Debug` hides the cells.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The row, counted from the first of the file: the header is row 1 unless something comes before it, empty rows count, a line
    /// break within a cell does not. So a spreadsheet shows it, but for a first line `sep=;`, which counts and which some hide.
    pub row: u32,
    /// Byte of the file at which the next row begins.
    pub end: u64,
    /// The cells, without their quotes and without the apostrophe that an error report puts before a formula; too long
    /// ones are whole, and what is not UTF-8 is replaced. May be fewer than the columns of the header: the
    /// others are empty. If required ones are missing, or there are more, [`Record::faults`] says so.
    pub cells: Vec<String>,
    /// What is wrong with the row as text. If one has no column, the cells may stand in wrong columns.
    pub faults: Vec<RowFault>,
    /// The header of its file.
    pub header: Arc<Header>,
}

impl Record {
    /// The cell of a column; `None` if the file does not have the column, or the row does not reach that far.
    pub fn cell(&self, column: Column) -> Option<&str> {
        self.cells.get(self.header.place(column)?).map(String::as_str)
    }

    /// Whether each cell stands in its column.
    pub fn is_aligned(&self) -> bool {
        self.faults.iter().all(|fault| fault.column.is_some())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Record").field("row", &self.row).field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// A file of members, read up to some record.
pub struct MemberFile<R> {
    raw: RawReader<R>,
    first_row: u32,
    header: Arc<Header>,
    limits: FileLimits,
}

impl<R: AsyncRead + Unpin> MemberFile<R> {
    /// Reads the header. The source stands at the beginning of the file.
    pub async fn open(source: R, limits: FileLimits) -> Result<Self, ReadError> {
        let (mut raw, delimiter) = begin(source).await?;
        let (first_row, _) = raw.position();
        let header = loop {
            let record = raw.next().await?.ok_or(FileFault::Empty)?;
            if !record.is_blank() {
                let row = record.row;
                let header =
                    header_names(&record).and_then(|names| Header::new(names, delimiter).map_err(FileFault::from));
                break header.map_err(|fault| ReadError::File(fault, Some(row)))?;
            }
        };
        Ok(Self { raw, first_row, header: Arc::new(header), limits })
    }

    /// Goes on where [`MemberFile::position`] was. The source stands at [`Resume::offset`].
    pub fn resume(source: R, resume: Resume, limits: FileLimits) -> Result<Self, FileFault> {
        let header = Arc::new(Header::new(resume.names, resume.delimiter)?);
        let window = Window::new(source, resume.offset);
        let raw = RawReader::new(window, resume.delimiter, resume.row);
        Ok(Self { raw, first_row: resume.first_row, header, limits })
    }

    /// The header.
    pub fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// Where the next record will be looked for.
    pub fn position(&self) -> Resume {
        let (row, offset) = self.raw.position();
        let (delimiter, names) = (self.header.delimiter(), self.header.names().to_vec());
        Resume { offset, row, first_row: self.first_row, delimiter, names }
    }

    /// The next record that has something in it; `None` at the end. After an error the file cannot be read further.
    pub async fn next(&mut self) -> Result<Option<Record>, ReadError> {
        while let Some(raw) = self.raw.next().await? {
            if raw.is_blank() {
                continue;
            }
            self.limits.check(&raw, self.first_row)?;
            return Ok(Some(decode(&raw, &self.header, self.limits)));
        }
        Ok(None)
    }
}

/// What a file holds, by one look through all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The header.
    pub header: Arc<Header>,
    /// What most lines end with; `None` if there is only one.
    pub line_end: Option<LineEnd>,
    /// Records, good or bad.
    pub records: u32,
}

/// Finds every fault that refuses the whole file, and counts its records, before anything of it is imported.
pub async fn survey<R: AsyncRead + Unpin>(source: R, limits: FileLimits) -> Result<Survey, ReadError> {
    let mut file = MemberFile::open(source, limits).await?;
    let mut records = 0;
    while let Some(raw) = file.raw.next().await? {
        if raw.is_blank() {
            continue;
        }
        limits.check(&raw, file.first_row)?;
        records += 1;
    }
    Ok(Survey { line_end: file.raw.line_end(), header: file.header, records })
}

/// How a file is written, as far as its beginning shows: known also of one that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// What was taken for the separator of cells.
    pub delimiter: Delimiter,
    /// What most lines end with; `None` if there is only one.
    pub line_end: Option<LineEnd>,
    /// Names in the first row with something in it that are no columns; none if the row is no text.
    pub unknown_names: Vec<String>,
}

/// Looks at the beginning of a file. `None`: there is nothing in it.
pub async fn format_of<R: AsyncRead + Unpin>(source: R) -> io::Result<Option<Format>> {
    let (mut raw, delimiter) = begin(source.take(BEGINNING)).await?;
    let mut names = None;
    while let Some(record) = raw.next().await? {
        if names.is_none() && !record.is_blank() {
            names = Some(header_names(&record).unwrap_or_default());
        }
    }
    Ok(names.map(|names| {
        let unknown_names = unknown(&names).map(str::to_owned).collect();
        Format { delimiter, line_end: raw.line_end(), unknown_names }
    }))
}

/// A reader that stands before the header, and the delimiter that the first line names, or else the header shows.
async fn begin<R: AsyncRead + Unpin>(source: R) -> io::Result<(RawReader<R>, Delimiter)> {
    let mut window = Window::new(source, 0);
    if window.fill().await?.starts_with(b"\xef\xbb\xbf") {
        window.skip(3);
    }
    let named = named_delimiter(window.available());
    let delimiter = named.unwrap_or_else(|| guess_delimiter(window.available()));
    let mut raw = RawReader::new(window, delimiter, 1);
    if named.is_some() {
        raw.next().await?;
    }
    Ok((raw, delimiter))
}

/// The delimiter of a first line like `sep=;`, which programs write for Excel. It may be quoted, and filled up with separators by a
/// program that took it for a row.
fn named_delimiter(beginning: &[u8]) -> Option<Delimiter> {
    let line = beginning.split(|byte| matches!(byte, b'\r' | b'\n')).next().filter(|line| line.len() <= SEP_LINE)?;
    // A quotation mark that never closes would take the rest of the file with it.
    match line.split(|byte| *byte == b'"').count() {
        1 => {}
        3 if line[0] == b'"' => {}
        _ => return None,
    }
    let bare: Vec<u8> = line.iter().copied().filter(|byte| *byte != b'"').collect();
    let (name, rest) = bare.split_at_checked(4)?;
    let (sign, filling) = rest.split_first()?;
    let delimiter = Delimiter::ALL.into_iter().find(|delimiter| delimiter.byte() == *sign)?;
    let is_filled = filling.iter().all(|byte| [b' ', *sign].contains(byte));
    (name.eq_ignore_ascii_case(b"sep=") && is_filled).then_some(delimiter)
}

/// The delimiter that finds most known columns in the header.
fn guess_delimiter(beginning: &[u8]) -> Delimiter {
    let known = |delimiter: &Delimiter| {
        let cells = raw::first_cells(beginning, *delimiter);
        cells.iter().filter(|cell| Meaning::of(&String::from_utf8_lossy(cell)) != Meaning::Unknown).count()
    };
    // `max_by_key` takes the last of equals, and the first one of the list is to win.
    Delimiter::ALL.into_iter().rev().max_by_key(known).unwrap_or(Delimiter::Comma)
}

fn header_names(record: &RawRecord<'_>) -> Result<Vec<String>, FileFault> {
    // No name of a column has a zero byte; what programs keep for themselves is full of them.
    let names: Option<Vec<String>> =
        record.cells().map(|cell| String::from_utf8(cell.to_vec()).ok().filter(|name| !name.contains('\0'))).collect();
    let names = names.ok_or(FileFault::Encoding)?;
    if record.cut || record.unclosed { Err(FileFault::MalformedHeader) } else { Ok(names) }
}

fn decode(raw: &RawRecord<'_>, header: &Arc<Header>, limits: FileLimits) -> Record {
    let mut cells = Vec::with_capacity(header.names().len());
    let mut faults = Vec::new();
    for (place, bytes) in raw.cells().enumerate() {
        let text = String::from_utf8_lossy(bytes);
        let cell = report::unguarded(&text).to_owned();
        if let Some(Meaning::Imported(column)) = header.meanings().get(place) {
            let long = bytes.len() > limits.of(*column);
            // Only what is no text was copied to have it replaced.
            let fault = if long {
                Some(FieldFault::TooLong)
            } else {
                matches!(text, Cow::Owned(_)).then_some(FieldFault::InvalidEncoding)
            };
            faults.extend(fault.map(|fault| RowFault::new(Some(*column), Some(&cell), fault)));
        }
        cells.push(cell);
    }
    while cells.len() > header.names().len() && cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    if let Some(fault) = misaligned(raw, cells.len(), header) {
        faults.push(RowFault::new(None, None, fault));
    }
    Record { row: raw.row, end: raw.end, cells, faults, header: Arc::clone(header) }
}

/// Why cells may stand in wrong columns, if they may. Spreadsheets leave empty cells at the end of rows out, so it is none that those
/// of optional and ignored columns are missing.
fn misaligned(raw: &RawRecord<'_>, cells: usize, header: &Header) -> Option<FieldFault> {
    let ends_before = |column: &Column| header.place(*column).is_some_and(|place| place >= cells);
    if raw.unclosed {
        Some(FieldFault::MalformedRow)
    } else if raw.cut {
        Some(FieldFault::TooLong)
    } else if Column::REQUIRED.iter().any(ends_before) {
        Some(FieldFault::TooFewColumns)
    } else if cells > header.names().len() {
        Some(FieldFault::TooManyColumns)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
