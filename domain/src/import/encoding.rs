//! How the text of a file is written: found by one look through all of it, and undone while it is read.
//!
//! Behind [`decoded`] everything is UTF-8. What is not text in its own encoding becomes the byte 0xFF, which no UTF-8 has: so
//! the fault is found in the cell where it stands, whatever the encoding.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE, WINDOWS_1252};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;
/// Bytes by which text of two bytes per character without a mark is recognised.
const GLANCE: usize = 4 * 1024;

/// How characters become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Encoding {
    /// UTF-8.
    #[serde(rename = "UTF_8")]
    #[sqlx(rename = "UTF_8")]
    Utf8,
    /// UTF-16, the lower byte first.
    #[serde(rename = "UTF_16LE")]
    #[sqlx(rename = "UTF_16LE")]
    Utf16Le,
    /// UTF-16, the higher byte first.
    #[serde(rename = "UTF_16BE")]
    #[sqlx(rename = "UTF_16BE")]
    Utf16Be,
    /// Windows-1252, with which ISO 8859-1 and ASCII agree as far as they have letters.
    #[serde(rename = "WINDOWS_1252")]
    #[sqlx(rename = "WINDOWS_1252")]
    Windows1252,
}

impl Encoding {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF_8",
            Self::Utf16Le => "UTF_16LE",
            Self::Utf16Be => "UTF_16BE",
            Self::Windows1252 => "WINDOWS_1252",
        }
    }
}

/// What the bytes of a file say about its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// How characters become bytes.
    pub encoding: Encoding,
    /// Whether the file begins with the mark that says so.
    pub byte_order_mark: bool,
}

/// Looks through a file, from its beginning to its end. `None`: it is no text but what a program keeps for itself.
pub async fn detect<R: AsyncRead + Unpin>(mut source: R) -> io::Result<Option<Text>> {
    let mut buffer = vec![0; CHUNK];
    let mut filled = read_full(&mut source, &mut buffer).await?;
    let beginning = &buffer[..filled];
    if is_binary(beginning) {
        return Ok(None);
    }
    if let Some(marked) = marked(beginning) {
        return Ok(Some(Text { encoding: marked, byte_order_mark: true }));
    }
    if let Some(encoding) = wide(&beginning[..filled.min(GLANCE)]) {
        return Ok(Some(Text { encoding, byte_order_mark: false }));
    }
    let mut count = Utf8Count::default();
    while filled > 0 {
        count.take(&buffer[..filled]);
        filled = read_full(&mut source, &mut buffer).await?;
    }
    Ok(Some(Text { encoding: count.verdict(), byte_order_mark: false }))
}

async fn read_full<R: AsyncRead + Unpin>(source: &mut R, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]).await? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Archives, which the files of spreadsheets are today; their files of former times; PDF.
pub(crate) fn is_binary(beginning: &[u8]) -> bool {
    const SIGNATURES: [&[u8]; 5] = [b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0", b"%PDF", b"\x1f\x8b"];
    SIGNATURES.iter().any(|signature| beginning.starts_with(signature))
}

fn marked(beginning: &[u8]) -> Option<Encoding> {
    let marks: [(&[u8], Encoding); 3] =
        [(b"\xef\xbb\xbf", Encoding::Utf8), (b"\xff\xfe", Encoding::Utf16Le), (b"\xfe\xff", Encoding::Utf16Be)];
    marks.into_iter().find(|(mark, _)| beginning.starts_with(mark)).map(|(_, encoding)| encoding)
}

/// Text in UTF-16 without a mark. Whatever language people's names in it are of, names of columns, addresses and separators are Latin
/// letters and signs: of those one byte is zero, always the first or always the second one. In text of other encodings no byte is zero, and
/// what programs keep for themselves has zeros in both places.
fn wide(beginning: &[u8]) -> Option<Encoding> {
    let (pairs, _) = beginning.as_chunks::<2>();
    let is_latin = |byte: u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~' | 0xa0..);
    let (mut low_first, mut high_first, mut other, mut narrow) = (0, 0, 0, 0);
    for pair in pairs {
        match *pair {
            [low, 0] if is_latin(low) => low_first += 1,
            [0, low] if is_latin(low) => high_first += 1,
            [0, _] | [_, 0] => other += 1,
            [b' '..=b'~', b' '..=b'~'] => narrow += 1,
            _ => {}
        }
    }
    // Some letters have a zero byte of their own, like "Ā" or the Chinese "one".
    // Two bytes of ASCII are two letters of another encoding, or a Chinese one.
    let most = |count: usize, against: usize| {
        count >= 2 && count * 8 >= pairs.len() && against * 8 <= count && narrow * 2 <= count
    };
    if most(low_first, high_first + other) {
        Some(Encoding::Utf16Le)
    } else if most(high_first, low_first + other) {
        Some(Encoding::Utf16Be)
    } else {
        None
    }
}

/// What speaks for UTF-8 in some bytes, and what against it.
#[derive(Default)]
struct Utf8Count {
    characters: u64,
    faults: u64,
    rest: Vec<u8>,
}

impl Utf8Count {
    fn take(&mut self, bytes: &[u8]) {
        let joined;
        let mut bytes = if self.rest.is_empty() {
            bytes
        } else {
            joined = [&self.rest, bytes].concat();
            &joined[..]
        };
        let rest = loop {
            match std::str::from_utf8(bytes) {
                Ok(text) => {
                    self.characters += beyond_ascii(text.as_bytes());
                    break &[][..];
                }
                Err(error) => {
                    let (good, bad) = bytes.split_at(error.valid_up_to());
                    self.characters += beyond_ascii(good);
                    let Some(length) = error.error_len() else { break bad };
                    self.faults += 1;
                    bytes = &bad[length..];
                }
            }
        };
        self.rest = rest.to_vec();
    }

    /// One wrong cell in a file of UTF-8 does not make all others wrong; a file without a single character of UTF-8 beyond ASCII
    /// was never meant as that.
    fn verdict(&self) -> Encoding {
        let faults = self.faults + u64::from(!self.rest.is_empty());
        if faults > self.characters { Encoding::Windows1252 } else { Encoding::Utf8 }
    }
}

fn beyond_ascii(utf8: &[u8]) -> u64 {
    utf8.iter().filter(|byte| **byte >= 0xc0).count() as u64
}

/// A file as UTF-8, from its beginning; a byte order mark stays.
pub fn decoded<R: AsyncRead + Unpin>(source: R, encoding: Encoding) -> Decoded<R> {
    let decoder = match encoding {
        Encoding::Utf8 => None,
        Encoding::Utf16Le => Some(UTF_16LE.new_decoder_without_bom_handling()),
        Encoding::Utf16Be => Some(UTF_16BE.new_decoder_without_bom_handling()),
        Encoding::Windows1252 => Some(WINDOWS_1252.new_decoder_without_bom_handling()),
    };
    Decoded { source, transcoder: decoder.map(|decoder| Box::new(Transcoder::new(decoder))) }
}

/// See [`decoded`].
pub struct Decoded<R> {
    source: R,
    /// None for what is UTF-8 already.
    transcoder: Option<Box<Transcoder>>,
}

struct Transcoder {
    decoder: Decoder,
    input: Box<[u8]>,
    /// What is read and not yet decoded.
    unread: std::ops::Range<usize>,
    ended: bool,
    output: Box<[u8]>,
    /// What is decoded and not yet handed out.
    ready: std::ops::Range<usize>,
    finished: bool,
}

impl Transcoder {
    fn new(decoder: Decoder) -> Self {
        let buffer = |size| vec![0; size].into_boxed_slice();
        Self {
            decoder,
            input: buffer(CHUNK),
            unread: 0..0,
            ended: false,
            // No byte becomes more than three.
            output: buffer(3 * CHUNK + 16),
            ready: 0..0,
            finished: false,
        }
    }

    /// Decodes what was read, up to a fault; that becomes 0xFF.
    fn decode(&mut self) {
        let room = self.output.len() - 1;
        let input = &self.input[self.unread.clone()];
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(input, &mut self.output[..room], self.ended);
        self.unread.start += read;
        self.ready = 0..written;
        match result {
            DecoderResult::InputEmpty => self.finished = self.ended,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => {
                self.output[written] = 0xff;
                self.ready.end += 1;
            }
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Decoded<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(transcoder) = &mut this.transcoder else { return Pin::new(&mut this.source).poll_read(cx, buffer) };
        while transcoder.ready.is_empty() && !transcoder.finished {
            if transcoder.unread.is_empty() && !transcoder.ended {
                let mut input = ReadBuf::new(&mut transcoder.input);
                ready!(Pin::new(&mut this.source).poll_read(cx, &mut input))?;
                transcoder.unread = 0..input.filled().len();
                transcoder.ended = transcoder.unread.is_empty();
            }
            transcoder.decode();
        }
        let count = transcoder.ready.len().min(buffer.remaining());
        let from = transcoder.ready.start;
        buffer.put_slice(&transcoder.output[from..from + count]);
        transcoder.ready.start += count;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(future)
    }

    fn found(bytes: &[u8]) -> Option<Text> {
        wait(detect(bytes)).expect("a slice can be read")
    }

    fn text(bytes: &[u8], encoding: Encoding) -> Vec<u8> {
        let mut decoded = Vec::new();
        wait(super::decoded(bytes, encoding).read_to_end(&mut decoded)).expect("a slice can be read");
        decoded
    }

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn encodings_are_found_with_and_without_a_mark() {
        let header = "email,first_name\r\na@b.example,Zoë\r\n";
        for (bytes, encoding, byte_order_mark) in [
            (header.as_bytes().to_vec(), Encoding::Utf8, false),
            (format!("\u{feff}{header}").into_bytes(), Encoding::Utf8, true),
            (utf16(header, u16::to_le_bytes), Encoding::Utf16Le, false),
            (utf16(header, u16::to_be_bytes), Encoding::Utf16Be, false),
            (utf16(&format!("\u{feff}{header}"), u16::to_le_bytes), Encoding::Utf16Le, true),
            (utf16(&format!("\u{feff}{header}"), u16::to_be_bytes), Encoding::Utf16Be, true),
            (WINDOWS_1252.encode(header).0.into_owned(), Encoding::Windows1252, false),
            (b"email,first_name".to_vec(), Encoding::Utf8, false),
            (Vec::new(), Encoding::Utf8, false),
        ] {
            assert_eq!(found(&bytes), Some(Text { encoding, byte_order_mark }), "{bytes:?}");
            let read = text(&bytes, encoding);
            let read = std::str::from_utf8(&read).expect("UTF-8").trim_start_matches('\u{feff}');
            assert!(header.starts_with(read), "{read:?}");
        }
    }

    #[test]
    fn utf_16_is_found_in_every_script() {
        let header = "email;first_name;last_name;subscription_type;Примечание\r\n";
        for row in [
            "anna@firma.example;Анна;Каренина-Облонская;Attorney;Ведущий специалист юридического отдела\r\n",
            "maria@etairia.example;Μαρία;Παπαδοπούλου;Non-attorney;Προϊσταμένη του νομικού τμήματος\r\n",
            "zoe@firm.example;Zoë;Müller-Lüdenscheidt;Attorney;Ānāñ\r\n",
            "li@firm.example;一;王一一;Attorney;\r\n",
        ] {
            for text in [format!("{header}{}", row.repeat(200)), format!("Сотрудники\r\n{header}{}", row.repeat(200))]
            {
                let low = found(&utf16(&text, u16::to_le_bytes)).map(|text| text.encoding);
                let high = found(&utf16(&text, u16::to_be_bytes)).map(|text| text.encoding);
                assert_eq!((low, high), (Some(Encoding::Utf16Le), Some(Encoding::Utf16Be)), "{row}");
                assert_eq!(found(text.as_bytes()).map(|text| text.encoding), Some(Encoding::Utf8), "{row}");
            }
        }
    }

    #[test]
    fn zero_bytes_alone_are_not_utf_16() {
        let text = "email,first_name\r\n";
        for other in [
            format!("{text}{}", "\0".repeat(4_000)),
            format!("{text}{}", "ann\0lee\0".repeat(500)),
            format!("{text}a\0b"),
            "\0".repeat(4_000),
            "\x01\0\0\0\x02\0\0\0\x03\0\0\0".repeat(50),
        ] {
            assert_eq!(found(other.as_bytes()).map(|text| text.encoding), Some(Encoding::Utf8), "{}", other.len());
        }
    }

    #[test]
    fn one_wrong_cell_does_not_change_the_encoding_of_the_others() {
        let mostly_utf8 = [" Zoë Müller Ağaoğlu ".as_bytes(), b"M\xfcller"].concat();
        assert_eq!(found(&mostly_utf8).map(|text| text.encoding), Some(Encoding::Utf8));
        let long = [&b"a".repeat(3 * CHUNK - 1), "é".as_bytes(), b"x\xe9"].concat();
        assert_eq!(found(&long).map(|text| text.encoding), Some(Encoding::Utf8), "a character over two reads counts");
        let never_utf8 = b"M\xfcller and \x80 5, caf\xe9";
        assert_eq!(found(never_utf8).map(|text| text.encoding), Some(Encoding::Windows1252));
        assert_eq!(text(never_utf8, Encoding::Windows1252), "Müller and € 5, café".as_bytes());
    }

    #[test]
    fn what_programs_keep_for_themselves_is_no_text() {
        for bytes in [&b"PK\x03\x04\x14\x00"[..], b"%PDF-1.7", b"\xd0\xcf\x11\xe0\xa1", b"\x1f\x8b\x08"] {
            assert_eq!(found(bytes), None);
        }
    }

    #[test]
    fn what_is_no_text_in_its_encoding_stays_a_fault() {
        let lone = [utf16("a", u16::to_le_bytes), vec![0x00, 0xd8], utf16("b", u16::to_le_bytes)].concat();
        assert_eq!(text(&lone, Encoding::Utf16Le), b"a\xffb");
        assert_eq!(text(b"a\0b", Encoding::Utf16Le), b"a\xff", "half a character at the end");
    }

    proptest! {
        #[test]
        fn text_survives_its_encoding(content in "\\PC{0,300}", times in 1usize..200) {
            let content = content.repeat(times);
            prop_assert_eq!(text(&utf16(&content, u16::to_le_bytes), Encoding::Utf16Le), content.as_bytes());
            prop_assert_eq!(text(&utf16(&content, u16::to_be_bytes), Encoding::Utf16Be), content.as_bytes());
            prop_assert_eq!(text(content.as_bytes(), Encoding::Utf8), content.as_bytes());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = found(&bytes);
            for encoding in [Encoding::Utf16Le, Encoding::Utf16Be, Encoding::Windows1252] {
                prop_assert!(text(&bytes, encoding).len() <= 3 * bytes.len() + 1);
            }
        }
    }
}
