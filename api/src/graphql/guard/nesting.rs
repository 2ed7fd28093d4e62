//! How deep a document's brackets nest, from its bytes alone.

/// Brackets of any kind inside each other. The parser is recursive; 16 KB of `[` would be 16,000 calls.
pub const MAX_NESTING: usize = 64;

/// The deepest nesting of `{`, `[` and `(` outside strings and comments.
///
/// Strings and comments end where the parser ends them. Where the text is no GraphQL (an unterminated string), the parser
/// stops at the latest at the same place, so what it reads is never nested deeper than what is counted here.
pub(super) fn deepest(text: &[u8]) -> usize {
    let (mut at, mut depth, mut deepest) = (0, 0_usize, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' | b'[' | b'(' => {
                depth += 1;
                deepest = deepest.max(depth);
                at += 1;
            }
            b'}' | b']' | b')' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'#' => at = end_of_line(text, at),
            b'"' if text[at..].starts_with(b"\"\"\"") => at = end_of_block(text, at + 3),
            b'"' => at = end_of_string(text, at + 1),
            _ => at += 1,
        }
    }
    deepest
}

fn end_of_line(text: &[u8], from: usize) -> usize {
    text[from..].iter().position(|byte| matches!(byte, b'\n' | b'\r')).map_or(text.len(), |length| from + length)
}

fn end_of_string(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            b'\n' | b'\r' => return at,
            _ => at += 1,
        }
    }
    text.len()
}

fn end_of_block(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < text.len() {
        if text[at..].starts_with(b"\\\"\"\"") {
            at += 4;
        } else if text[at..].starts_with(b"\"\"\"") {
            return at + 3;
        } else {
            at += 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::deepest;

    #[test]
    fn brackets_of_all_kinds_count_together() {
        assert_eq!(deepest(b"{ a(b: [{ c: 1 }]) { d } }"), 4);
        assert_eq!(deepest(b"{a}{b}{c}"), 1);
        assert_eq!(deepest("[".repeat(16_000).as_bytes()), 16_000);
    }

    #[test]
    fn strings_and_comments_do_not_count() {
        assert_eq!(deepest(br#"{ a(b: "{{{{ \" {{{{") }"#), 2);
        assert_eq!(deepest(br#"{ a(b: """ {{{ \""" {{{ " {{{ """) }"#), 2);
        assert_eq!(deepest(br#"{ a(b: "") { c(d: "{{") } }"#), 3);
        assert_eq!(deepest(b"{ # {{{{{\n a { b } }"), 2);
        assert_eq!(deepest(b"{ # {{{{{\r a { b } }"), 2);
    }

    #[test]
    fn a_string_that_never_ends_hides_nothing_behind_its_line() {
        assert_eq!(deepest(b"{ a(b: \"x\n[[[[[[[[[[ "), 12);
    }
}
