//! Records of a CSV file as bytes: one buffer of fixed size, and positions from which another reader can go on.

use std::io;

use csv_core::ReadRecordResult;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::column::{Delimiter, LineEnd};

/// Bytes read at once.
const INPUT_BYTES: usize = 64 * 1024;
/// Bytes of a record that are kept; the rest of a longer one is skipped.
pub(super) const RECORD_BYTES: usize = 256 * 1024;
/// Cells of a record that are kept; the rest is skipped.
pub(super) const RECORD_CELLS: usize = 256;

/// A record: its cells without their quotes.
pub(super) struct RawRecord<'a> {
    /// The row as a spreadsheet shows it.
    pub(super) row: u32,
    /// Where the next row begins.
    pub(super) end: u64,
    /// A quotation mark was still open at the end of the file.
    pub(super) unclosed: bool,
    /// Cells or bytes beyond the limits were skipped.
    pub(super) cut: bool,
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> RawRecord<'a> {
    pub(super) fn cells(&self) -> impl Iterator<Item = &'a [u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let bytes = self.bytes;
        starts.zip(self.ends).map(move |(start, end)| &bytes[start..*end])
    }

    /// Whether no cell has anything but white space.
    pub(super) fn is_blank(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }
}

/// The file's bytes through a window.
pub(super) struct Window<R> {
    source: R,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// Position in the file of `start`.
    offset: u64,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Window<R> {
    /// A window on a source that stands at `offset` of the file.
    pub(super) fn new(source: R, offset: u64) -> Self {
        Self { source, bytes: vec![0; INPUT_BYTES].into_boxed_slice(), start: 0, end: 0, offset, ended: false }
    }

    /// Fills the window as far as the file goes, and returns what is in it.
    pub(super) async fn fill(&mut self) -> io::Result<&[u8]> {
        while self.end < self.bytes.len() && self.read().await? {}
        Ok(self.available())
    }

    /// Whether the file has another byte; if so, at least one is available.
    pub(super) async fn more(&mut self) -> io::Result<bool> {
        if self.start < self.end {
            return Ok(true);
        }
        (self.start, self.end) = (0, 0);
        self.read().await
    }

    pub(super) fn available(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Skips one byte if it is the next one.
    async fn skip_if(&mut self, byte: u8) -> io::Result<bool> {
        let found = self.more().await? && self.available()[0] == byte;
        self.skip(usize::from(found));
        Ok(found)
    }

    async fn read(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let count = self.source.read(&mut self.bytes[self.end..]).await?;
        self.end += count;
        self.ended = count == 0;
        Ok(!self.ended)
    }
}

/// Cuts the window into records. Quotes follow RFC 4180, leniently; a line ends with LF, CR or CRLF.
///
/// Rows are counted as a spreadsheet does: an empty line is a row, a line break within quotes is none.
pub(super) struct RawReader<R> {
    pub(super) window: Window<R>,
    /// How many records ended with each of [`LineEnd::ALL`].
    line_ends: [u32; 3],
    parser: csv_core::Reader,
    row: u32,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// How far the parser got with a record.
#[derive(Default)]
struct Progress {
    bytes: usize,
    ends: usize,
    cut: bool,
}

impl<R: AsyncRead + Unpin> RawReader<R> {
    /// A reader of the window, at the beginning of row `row`.
    pub(super) fn new(window: Window<R>, delimiter: Delimiter, row: u32) -> Self {
        let (bytes, ends) = (vec![0; RECORD_BYTES], vec![0; RECORD_CELLS]);
        Self { window, line_ends: [0; 3], parser: parser(delimiter), row, bytes, ends }
    }

    /// What most records so far ended with; `None` where none ended with anything.
    pub(super) fn line_end(&self) -> Option<LineEnd> {
        let counted = LineEnd::ALL.into_iter().zip(self.line_ends).filter(|(_, count)| *count > 0);
        counted.max_by_key(|(_, count)| *count).map(|(end, _)| end)
    }

    /// Row and position at which the next record is looked for.
    pub(super) fn position(&self) -> (u32, u64) {
        (self.row, self.window.offset)
    }

    /// The next record; `None` at the end of the file.
    pub(super) async fn next(&mut self) -> io::Result<Option<RawRecord<'_>>> {
        self.skip_empty_lines().await?;
        if !self.window.more().await? {
            return Ok(None);
        }
        let mut progress = Progress::default();
        let mut last = 0;
        let mut unclosed = false;
        while self.window.more().await? {
            let (done, read) = self.parse(&mut progress);
            last = read.checked_sub(1).map_or(last, |index| self.window.available()[index]);
            self.window.skip(read);
            if done {
                break;
            }
            if !self.window.more().await? {
                unclosed = !self.parse_end(&mut progress);
            }
        }
        let end = match last {
            b'\r' if self.window.skip_if(b'\n').await? => Some(LineEnd::CrLf),
            b'\r' => Some(LineEnd::Cr),
            b'\n' => Some(LineEnd::Lf),
            _ => None,
        };
        if let Some(end) = end {
            self.line_ends[end as usize] += 1;
        }
        let row = self.row;
        self.row = row.saturating_add(1);
        let ends = &self.ends[..progress.ends];
        let end = self.window.offset;
        Ok(Some(RawRecord { row, end, unclosed, cut: progress.cut, bytes: &self.bytes[..progress.bytes], ends }))
    }

    async fn skip_empty_lines(&mut self) -> io::Result<()> {
        loop {
            if self.window.skip_if(b'\r').await? {
                self.window.skip_if(b'\n').await?;
            } else if !self.window.skip_if(b'\n').await? {
                return Ok(());
            }
            self.row = self.row.saturating_add(1);
        }
    }

    /// Parses what the window has of the record. Returns whether the record is complete, and the bytes it took.
    fn parse(&mut self, progress: &mut Progress) -> (bool, usize) {
        let input = self.window.available();
        let mut taken = 0;
        loop {
            let (result, read) = feed(&mut self.parser, &input[taken..], &mut self.bytes, &mut self.ends, progress);
            taken += read;
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => return (true, taken),
                ReadRecordResult::InputEmpty => return (false, taken),
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => progress.cut = true,
            }
            // An empty input would mean the end of the file to the parser.
            if taken == input.len() {
                return (false, taken);
            }
        }
    }

    /// Ends the last record of the file as a line break would. Within quotes a line break ends nothing: then returns
    /// false, and the cell ends where the file does.
    fn parse_end(&mut self, progress: &mut Progress) -> bool {
        loop {
            let (result, _) = feed(&mut self.parser, b"\n", &mut self.bytes, &mut self.ends, progress);
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => return true,
                ReadRecordResult::InputEmpty => {
                    if !progress.cut {
                        // Without the line break, which the cell took.
                        progress.bytes -= 1;
                        self.ends[progress.ends] = progress.bytes;
                        progress.ends += 1;
                    }
                    return false;
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => progress.cut = true,
            }
        }
    }
}

/// A parser that stands between two records.
fn parser(delimiter: Delimiter) -> csv_core::Reader {
    let mut parser = csv_core::ReaderBuilder::new().delimiter(delimiter.byte()).build();
    // The parser drops a byte order mark that its very first input begins with. Only the file's own is to be dropped,
    // which the caller does; so the first input is an empty line.
    parser.read_record(b"\n", &mut [], &mut []);
    parser
}

/// One step of the parser into the free part of the buffers; after a cut, into nowhere.
fn feed(
    parser: &mut csv_core::Reader,
    input: &[u8],
    bytes: &mut [u8],
    ends: &mut [usize],
    progress: &mut Progress,
) -> (ReadRecordResult, usize) {
    if progress.cut {
        let (result, read, _, _) = parser.read_record(input, &mut [0; 1024], &mut [0; 64]);
        return (result, read);
    }
    let (result, read, written, ended) =
        parser.read_record(input, &mut bytes[progress.bytes..], &mut ends[progress.ends..]);
    progress.bytes += written;
    progress.ends += ended;
    (result, read)
}

/// The cells of the first line that is not empty, as far as `bytes` has it; for guessing the delimiter.
pub(super) fn first_cells(bytes: &[u8], delimiter: Delimiter) -> Vec<Vec<u8>> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let (mut text, mut ends, mut progress) = (vec![0; bytes.len()], vec![0; RECORD_CELLS], Progress::default());
    let mut parser = parser(delimiter);
    for input in [&bytes[start..], b"\n"] {
        if feed(&mut parser, input, &mut text, &mut ends, &mut progress).0 != ReadRecordResult::InputEmpty {
            break;
        }
    }
    let (bytes, ends) = (&text[..progress.bytes], &ends[..progress.ends]);
    RawRecord { row: 1, end: 0, unclosed: false, cut: false, bytes, ends }.cells().map(<[u8]>::to_vec).collect()
}
