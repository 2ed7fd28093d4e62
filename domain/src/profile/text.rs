//! Plain text that people type: normalised, bounded, and unable to disturb what is shown around it.

use unicode_normalization::UnicodeNormalization as _;

use super::FieldFault;

/// One line: trimmed, NFC, 1 to `max` characters, without what [`is_disturbing`] names.
pub(crate) fn line(text: &str, max: usize) -> Result<String, FieldFault> {
    checked(text, max, |_| false)
}

/// Several lines: as [`line`], with line breaks of any platform kept as `\n`.
pub(super) fn paragraphs(text: &str, max: usize) -> Result<String, FieldFault> {
    checked(&text.replace("\r\n", "\n").replace('\r', "\n"), max, |c| c == '\n')
}

/// The text, unless it has more than `max` characters (Unicode scalar values).
pub(super) fn at_most(text: String, max: usize) -> Result<String, FieldFault> {
    if text.chars().nth(max).is_some() { Err(FieldFault::TooLong) } else { Ok(text) }
}

fn checked(text: &str, max: usize, keeps: impl Fn(char) -> bool) -> Result<String, FieldFault> {
    let text: String = text.trim().nfc().collect();
    if text.is_empty() {
        return Err(FieldFault::Required);
    }
    if text.chars().any(|c| is_disturbing(c) && !keeps(c)) || text.chars().all(is_invisible) {
        return Err(FieldFault::InvalidCharacters);
    }
    at_most(text, max)
}

/// Characters that act on the text around them: controls, line and paragraph separators, and the embeddings, overrides
/// and isolates of the bidirectional algorithm (UAX #9). They are refused rather than dropped, because what would
/// remain is not what the person saw. The zero-width joiners and the directional marks stay: Persian, Hindi, Arabic and
/// Hebrew names need them.
pub(crate) fn is_disturbing(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters that show nothing by themselves: a name of nothing else would be an empty line in a list.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'
                ..='\u{180f}'
        )
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}')
        || matches!(c, '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_its_surroundings_is_refused() {
        for c in ['\0', '\u{7}', '\u{1b}', '\u{85}', '\u{2028}', '\u{202e}', '\u{2066}', '\u{2069}'] {
            assert_eq!(line(&format!("a{c}b"), 10), Err(FieldFault::InvalidCharacters), "{c:?}");
        }
        assert_eq!(line("می\u{200c}خواهم", 20).as_deref(), Ok("می\u{200c}خواهم"));
    }

    #[test]
    fn a_text_of_nothing_visible_is_refused() {
        assert_eq!(line("\u{200b}\u{3164} \u{feff}", 10), Err(FieldFault::InvalidCharacters));
        assert_eq!(line("-", 10).as_deref(), Ok("-"));
    }
}
