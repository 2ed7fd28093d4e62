//! Fonts: which glyphs a text has, and how wide it is. Noto Sans has the letters of Latin, Greek and Cyrillic; what it has not is shown
//! as an empty box, and copied out of the file as what it was.

use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::instance::{LocationRef, Size};
use skrifa::raw::TableProvider as _;
use skrifa::{FontRef, MetadataProvider as _};
use unicode_normalization::UnicodeNormalization as _;

static REGULAR: &[u8] = include_bytes!("fonts/NotoSans-Regular.ttf");
static BOLD: &[u8] = include_bytes!("fonts/NotoSans-Bold.ttf");

/// A font of one weight.
pub(super) struct Face {
    pub(super) font: Font,
    read: FontRef<'static>,
    units: f32,
}

/// Both weights.
pub(super) struct Faces {
    pub(super) regular: Face,
    pub(super) bold: Face,
}

impl Faces {
    /// The fonts that are compiled in.
    pub(super) fn built_in() -> Self {
        Self { regular: Face::new(REGULAR), bold: Face::new(BOLD) }
    }
}

impl Face {
    fn new(bytes: &'static [u8]) -> Self {
        let font = Font::new(bytes.into(), 0).expect("a font that is compiled in");
        let read = FontRef::new(bytes).expect("a font that is compiled in");
        let units = f32::from(read.head().expect("a font has a head").units_per_em());
        Self { font, read, units }
    }

    /// The text as it is shown: letters and their accents as one character where there is one, and nothing that breaks a line.
    pub(super) fn shown(text: &str) -> String {
        text.nfc().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    /// The glyphs of a text, one for each character, with their places in it.
    pub(super) fn glyphs(&self, text: &str) -> Vec<KrillaGlyph> {
        let (map, metrics) = (self.read.charmap(), self.read.glyph_metrics(Size::unscaled(), LocationRef::default()));
        let glyphs = text.char_indices().map(|(at, c)| {
            let glyph = map.map(c).unwrap_or_default();
            let advance = metrics.advance_width(glyph).unwrap_or_default() / self.units;
            KrillaGlyph::new(GlyphId::new(glyph.to_u32()), advance, 0.0, 0.0, 0.0, at..at + c.len_utf8(), None)
        });
        glyphs.collect()
    }

    /// How wide a text is in this size.
    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        self.glyphs(text).iter().map(|glyph| glyph.x_advance * size).sum()
    }

    /// The text in lines of at most this width: broken at spaces, and within words that are too long for a line.
    pub(super) fn wrapped(&self, text: &str, size: f32, width: f32) -> Vec<String> {
        let text = Self::shown(text);
        let mut lines = vec![String::new()];
        for word in text.split_whitespace() {
            for piece in self.pieces(word, size, width) {
                let last = lines.last_mut().expect("never empty");
                let longer = if last.is_empty() { piece.clone() } else { format!("{last} {piece}") };
                if last.is_empty() || self.width(&longer, size) <= width {
                    *last = longer;
                } else {
                    lines.push(piece);
                }
            }
        }
        lines
    }

    /// A word in pieces that each fit.
    fn pieces(&self, word: &str, size: f32, width: f32) -> Vec<String> {
        let mut pieces = vec![String::new()];
        for c in word.chars() {
            let last = pieces.last_mut().expect("never empty");
            let longer = format!("{last}{c}");
            if last.is_empty() || self.width(&longer, size) <= width {
                *last = longer;
            } else {
                pieces.push(c.to_string());
            }
        }
        pieces
    }
}
