//! Where a reader of the feed stands.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::read::Event;
use crate::error::{Code, Refused, Result};
use crate::id::EventId;

/// First byte of every cursor; another form gets another one.
const VERSION: u8 = 1;

/// The end of an event's id, which is random.
type Mark = [u8; 6];

/// The place after an event: opaque to clients. It names the event by its number and by the end of its id, so that a cursor of
/// another account, or of a past that the restore of a backup undid, is not taken for a place in this feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    seq: i64,
    mark: Mark,
}

impl Cursor {
    /// The place after an event that is read.
    pub fn of(event: &Event) -> Self {
        Self::at(event.seq, Some(event.id))
    }

    /// The place after a number, and the id of the event that has it; none before the oldest event that is kept.
    pub fn at(seq: i64, event: Option<EventId>) -> Self {
        Self { seq, mark: event.map_or([0; 6], mark) }
    }

    /// The number after which to read.
    pub fn seq(self) -> i64 {
        self.seq
    }

    /// Whether it may be the place after the event of this id.
    pub(super) fn is_of(self, event: EventId) -> bool {
        self.mark == mark(event)
    }

    /// As clients see it.
    pub fn encode(self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.mark);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what a client was given.
    ///
    /// # Errors
    /// INVALID_CURSOR at `after` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        Self::decode(text).ok_or_else(|| Refused::new(Code::InvalidCursor).at("after").into())
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (seq, mark) = rest.split_first_chunk()?;
        let cursor = Self { seq: i64::from_be_bytes(*seq), mark: mark.try_into().ok()? };
        // The next number must be one, too.
        (*version == VERSION && (0..i64::MAX).contains(&cursor.seq)).then_some(cursor)
    }
}

fn mark(event: EventId) -> Mark {
    *event.0.as_bytes().last_chunk().expect("an id has 16 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_and_nothing_else_is() {
        let id = EventId::new();
        for cursor in [Cursor::at(0, None), Cursor::at(1, Some(id)), Cursor::at(i64::MAX - 1, Some(id))] {
            let text = cursor.encode();
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
            assert_eq!(Cursor::decode(&text), Some(cursor));
            for other in [&text[1..], &text[..text.len() - 1], &format!("{text}A"), &text.replacen('A', "B", 1)] {
                assert_eq!(Cursor::decode(other), None, "{other}");
            }
        }
        let beyond = [Cursor::at(-1, None), Cursor::at(i64::MAX, None)].map(Cursor::encode);
        for other in ["", "0", "17", "eyJvIjoieCJ9", "ä", &beyond[0], &beyond[1]] {
            assert_eq!(Cursor::decode(other), None, "{other}");
        }
    }

    #[test]
    fn tells_events_of_one_number_apart() {
        let (one, other) = (EventId::new(), EventId::new());
        assert!(Cursor::at(7, Some(one)).is_of(one));
        assert!(!Cursor::at(7, Some(one)).is_of(other));
        assert!(!Cursor::at(7, None).is_of(one));
    }
}
