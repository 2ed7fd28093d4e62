//! Why a socket is closed. Clients take some codes as final and come again after others, see `docs/architecture.md`.

use axum::extract::ws::{CloseFrame, Message};

/// Bytes of a reason: a close frame has room for no more.
const REASON_BYTES: usize = 123;

/// A reason to close a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// What came is not a message of the protocol; the text says what is wrong.
    BadMessage(&'static str),
    /// An operation before the acknowledgement.
    Unauthorized,
    /// No valid credentials, or no longer.
    Forbidden,
    /// The client speaks another sub-protocol.
    OtherProtocol,
    /// `connection_init` did not come in time.
    InitTimeout,
    /// There is an operation of this id.
    Duplicate(String),
    /// A second `connection_init`.
    SecondInit,
    /// The user has as many sockets as they may.
    TooManySockets,
    /// A message above the limit.
    TooLarge,
    /// The frames are not those of a socket.
    BadFrame,
    /// The process is stopping; another one, or the next one, takes over.
    Restart,
    /// A part of the installation is away.
    TryAgain,
    /// Something went wrong here.
    Internal,
}

impl Close {
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::BadMessage(_) => 4400,
            Self::Unauthorized => 4401,
            Self::Forbidden => 4403,
            Self::OtherProtocol => 4406,
            Self::InitTimeout => 4408,
            Self::Duplicate(_) => 4409,
            Self::SecondInit | Self::TooManySockets => 4429,
            Self::Internal => 4500,
            Self::BadFrame => 1002,
            Self::TooLarge => 1009,
            Self::Restart => 1012,
            Self::TryAgain => 1013,
        }
    }

    fn reason(&self) -> String {
        let mut reason = match self {
            Self::BadMessage(fault) => (*fault).to_owned(),
            Self::Unauthorized => "Unauthorized".to_owned(),
            Self::Forbidden => "Forbidden".to_owned(),
            Self::OtherProtocol => "Subprotocol not acceptable".to_owned(),
            Self::InitTimeout => "Connection initialisation timeout".to_owned(),
            Self::Duplicate(id) => format!("Subscriber for {id} already exists"),
            Self::SecondInit => "Too many initialisation requests".to_owned(),
            Self::TooManySockets => "Too many sockets".to_owned(),
            Self::TooLarge => "Message too large".to_owned(),
            Self::BadFrame => "Protocol error".to_owned(),
            Self::Restart => "Service restart".to_owned(),
            Self::TryAgain => "Try again later".to_owned(),
            Self::Internal => "Internal server error".to_owned(),
        };
        reason.truncate(reason.floor_char_boundary(REASON_BYTES));
        reason
    }

    /// The frame that says so.
    pub(super) fn frame(&self) -> Message {
        Message::Close(Some(CloseFrame { code: self.code(), reason: self.reason().into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_into_a_frame() {
        let reason = Close::Duplicate("é".repeat(100)).reason();
        assert!((REASON_BYTES - 1..=REASON_BYTES).contains(&reason.len()), "{reason}");
        assert!(reason.starts_with("Subscriber for éé"));
    }
}
