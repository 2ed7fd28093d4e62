//! A CSV file of members, read record by record.
//!
//! The source is UTF-8, as [`super::encoding::decoded`] makes it of any file.
//! What spreadsheets write is understood: a byte order mark, `,` `;` or tabulators, any line ends, rows of
//! nothing but separators, unnamed cells to the right. Memory stays the same whatever the file holds: a record longer
//! than 256 KB or 256 cells is skipped and faulty, and so is a cell longer than the limit. Nothing but the position is
//! needed to go on in another process.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::AsyncRead;

use super::FailureCode;
use super::column::{Column, Delimiter, Header, HeaderFault, LineEnd, Meaning};
use super::raw::{self, RawReader, RawRecord, Window};
use super::report;
use super::row::RowFault;
use crate::infra::config;
use crate::profile::FieldFault;

/// What a file may hold.
#[derive(Clone, Copy, Debug)]
pub struct FileLimits {
    /// Rows below the first, counted as a spreadsheet does: empty ones between others count.
    pub rows: u32,
    /// Bytes of a cell.
    pub field_bytes: usize,
}

impl From<&config::Limits> for FileLimits {
    fn from(limits: &config::Limits) -> Self {
        Self { rows: limits.import_rows, field_bytes: limits.import_field_bytes }
    }
}

impl FileLimits {
    fn check(&self, raw: &RawRecord<'_>) -> Result<(), ReadError> {
        if raw.row.saturating_sub(1) > self.rows {
            return Err(ReadError::File(FileFault::TooManyRows(self.rows), Some(raw.row)));
        }
        Ok(())
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
            Self::Empty => FailureCode::EmptyFile,
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
            Self::NotText | Self::Encoding | Self::Empty | Self::MalformedHeader | Self::TooManyRows(_) => &[],
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
    /// That row, as a spreadsheet shows it.
    pub row: u32,
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
    /// The row as a spreadsheet shows it: the header is row 1, empty rows count, a line break within a cell does not.
    pub row: u32,
    /// Byte of the file at which the next row begins.
    pub end: u64,
    /// The cells, without their quotes and without the apostrophe that an error report puts before a formula; too long
    /// ones are cut, and what is not UTF-8 is replaced. May be fewer or more than the columns of the header, then
    /// [`Record::faults`] says so.
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
    header: Arc<Header>,
    limits: FileLimits,
}

impl<R: AsyncRead + Unpin> MemberFile<R> {
    /// Reads the header. The source stands at the beginning of the file.
    pub async fn open(source: R, limits: FileLimits) -> Result<Self, ReadError> {
        let mut window = Window::new(source, 0);
        let beginning = window.fill().await?;
        if beginning.starts_with(b"\xef\xbb\xbf") {
            window.skip(3);
        }
        let delimiter = guess_delimiter(window.available());
        let mut raw = RawReader::new(window, delimiter, 1);
        let header = loop {
            let record = raw.next().await?.ok_or(FileFault::Empty)?;
            if !record.is_blank() {
                let row = record.row;
                let header =
                    header_names(&record).and_then(|names| Header::new(names, delimiter).map_err(FileFault::from));
                break header.map_err(|fault| ReadError::File(fault, Some(row)))?;
            }
        };
        Ok(Self { raw, header: Arc::new(header), limits })
    }

    /// Goes on where [`MemberFile::position`] was. The source stands at [`Resume::offset`].
    pub fn resume(source: R, resume: Resume, limits: FileLimits) -> Result<Self, FileFault> {
        let header = Arc::new(Header::new(resume.names, resume.delimiter)?);
        let window = Window::new(source, resume.offset);
        Ok(Self { raw: RawReader::new(window, resume.delimiter, resume.row), header, limits })
    }

    /// The header.
    pub fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// Where the next record will be looked for.
    pub fn position(&self) -> Resume {
        let (row, offset) = self.raw.position();
        Resume { offset, row, delimiter: self.header.delimiter(), names: self.header.names().to_vec() }
    }

    /// The next record that has something in it; `None` at the end. After an error the file cannot be read further.
    pub async fn next(&mut self) -> Result<Option<Record>, ReadError> {
        while let Some(raw) = self.raw.next().await? {
            if raw.is_blank() {
                continue;
            }
            self.limits.check(&raw)?;
            return Ok(Some(decode(&raw, &self.header, self.limits.field_bytes)));
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
        limits.check(&raw)?;
        records += 1;
    }
    Ok(Survey { line_end: file.raw.line_end(), header: file.header, records })
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

fn decode(raw: &RawRecord<'_>, header: &Arc<Header>, field_bytes: usize) -> Record {
    let mut cells = Vec::with_capacity(header.names().len());
    let mut faults = Vec::new();
    for (place, bytes) in raw.cells().enumerate() {
        let (cell, fault) = decode_cell(bytes, field_bytes);
        if let (Some(fault), Some(Meaning::Imported(column))) = (fault, header.meanings().get(place)) {
            faults.push(RowFault::new(Some(*column), Some(&cell), fault));
        }
        cells.push(cell);
    }
    while cells.len() > header.names().len() && cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    if let Some(fault) = misaligned(raw, cells.len(), header.names().len()) {
        faults.push(RowFault::new(None, None, fault));
    }
    Record { row: raw.row, end: raw.end, cells, faults, header: Arc::clone(header) }
}

/// Why cells may stand in wrong columns, if they may.
fn misaligned(raw: &RawRecord<'_>, cells: usize, columns: usize) -> Option<FieldFault> {
    if raw.unclosed {
        Some(FieldFault::MalformedRow)
    } else if raw.cut {
        Some(FieldFault::TooLong)
    } else if cells < columns {
        Some(FieldFault::TooFewColumns)
    } else if cells > columns {
        Some(FieldFault::TooManyColumns)
    } else {
        None
    }
}

/// The text of a cell, and what is wrong with its bytes.
fn decode_cell(bytes: &[u8], field_bytes: usize) -> (String, Option<FieldFault>) {
    let kept = &bytes[..bytes.len().min(field_bytes)];
    let cut = (kept.len() < bytes.len()).then_some(FieldFault::TooLong);
    match std::str::from_utf8(kept) {
        Ok(text) => (report::unguarded(text).to_owned(), cut),
        // The cut went through a character.
        Err(error) if cut.is_some() && error.error_len().is_none() => {
            (report::unguarded(&String::from_utf8_lossy(&kept[..error.valid_up_to()])).to_owned(), cut)
        }
        Err(_) => (report::unguarded(&String::from_utf8_lossy(kept)).to_owned(), Some(FieldFault::InvalidEncoding)),
    }
}

#[cfg(test)]
mod tests;
