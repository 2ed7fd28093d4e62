//! What people typed, made harmless for a line, for a header and for the reply of a mail server that is stored.

/// Characters of a header's text: more is cut.
const HEADER_CHARACTERS: usize = 200;
/// Characters of a mail server's reply that are kept.
const REPLY_CHARACTERS: usize = 500;

/// One line: control characters and direction overrides are gone, white space is one blank.
pub(super) fn line(text: &str) -> String {
    let visible: String = text.chars().filter(|c| c.is_whitespace() || !is_hidden(*c)).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lines: as [`line`] each, blanks in front kept out; empty lines at both ends are gone.
pub(super) fn lines(text: &str) -> Vec<String> {
    let normal = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
    normal.trim().lines().map(line).collect()
}

/// Text of a header: one line of at most 200 characters that no reader takes for an encoded word.
pub(super) fn header(text: &str) -> String {
    cut(&line(text).replace("=?", "= ?"), HEADER_CHARACTERS)
}

/// A mail server's reply as it may be stored and shown: one line, without e-mail addresses, at most 500 characters.
pub(super) fn reply(text: &str) -> String {
    cut(&without_addresses(&line(text)), REPLY_CHARACTERS)
}

/// Control characters, and the marks that turn the direction of what follows, so that `moc.live` is read as `evil.com`.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some(_) => text.chars().take(characters - 1).chain(['…']).collect(),
    }
}

/// Replaces what stands around each `@`, up to white space or brackets, by `<address>`.
fn without_addresses(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let start = address_start(&rest[..at]);
        let end = at + 1 + rest[at + 1..].find(ends_address).unwrap_or(rest.len() - at - 1);
        kept.push_str(rest[..start].trim_end_matches('<'));
        kept.push_str("<address>");
        rest = rest[end..].trim_start_matches('>');
    }
    kept.push_str(rest);
    kept
}

/// Where the local part that ends `text` begins; a quoted one (`"a b"`) may contain blanks.
fn address_start(text: &str) -> usize {
    let quoted = text.strip_suffix('"').and_then(|inner| inner.rfind('"'));
    quoted.unwrap_or_else(|| {
        text.rfind(ends_address).map_or(0, |i| i + text[i..].chars().next().map_or(1, char::len_utf8))
    })
}

fn ends_address(c: char) -> bool {
    c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | '[' | ']' | ',' | ';' | ':' | '"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_breaks_and_no_overrides() {
        assert_eq!(line("  Eve\r\nBcc: x@y.example\0\u{202e}moc\u{7f} "), "Eve Bcc: x@y.examplemoc");
        assert_eq!(line("نرم\u{200c}افزار"), "نرم\u{200c}افزار");
    }

    #[test]
    fn lines_keep_their_breaks() {
        assert_eq!(lines("\r\n one\rtwo\r\n\r\nthree \n\n"), ["one", "two", "", "three"]);
        assert!(lines(" \n ").is_empty());
    }

    #[test]
    fn a_header_is_short_and_no_encoded_word() {
        assert_eq!(header("=?utf-8?q?boss?="), "= ?utf-8?q?boss?=");
        assert_eq!(header(&"ä".repeat(5000)).chars().count(), 200);
    }

    #[test]
    fn replies_lose_addresses() {
        assert_eq!(reply("550 5.1.1 <ann@firm.example>: unknown"), "550 5.1.1 <address>: unknown");
        assert_eq!(reply("ann.o'hara+x@firm.example unknown"), "<address> unknown");
        assert_eq!(reply("no \"ann lee\"@firm.example, nor bob@firm.example"), "no <address>, nor <address>");
        assert_eq!(reply("to:ann@firm.example@relay.example."), "to:<address>");
        assert_eq!(reply("zoë@фирма.example\r\nline\u{1b}[2J two"), "<address> line[2J two");
        assert_eq!(reply("@ alone and @"), "<address> alone and <address>");
        assert_eq!(reply(&"x".repeat(600)).chars().count(), 500);
    }
}
