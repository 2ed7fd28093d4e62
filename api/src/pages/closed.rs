//! Links in mails that do nothing any more: what people are told.

use axum::http::StatusCode;
use axum::response::Response;

use super::{MessageView, render};

/// Why a link of a mail does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedLink {
    /// No invitation has this token; a later mail may have replaced it.
    InvitationUnknown,
    /// Accepted before.
    InvitationUsed,
    /// Declined before.
    InvitationDeclined,
    /// Lapsed.
    InvitationExpired,
    /// Taken back.
    InvitationRevoked,
    /// The invited person is suspended.
    InvitationSuspended,
    /// No sign-up waits for this token: unknown, lapsed, or confirmed before.
    SignUp,
    /// No reset waits for this token: unknown, lapsed, or used.
    PasswordReset,
    /// No change of a login e-mail waits for this token: unknown, lapsed, given up, or done.
    LoginEmail,
    /// No file can be read by this link: it is none of ours or over, or its reader may not read that any more.
    File,
}

impl ClosedLink {
    /// The page that says so.
    pub fn response(self) -> Response {
        let (status, title, text) = self.texts();
        render(status, &MessageView { title: title.to_owned(), text: text.to_owned(), link: None })
    }

    fn texts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvitationUnknown => (
                StatusCode::NOT_FOUND,
                "This invitation does not exist",
                "Check that you used the link of the latest invitation mail in full, or ask whoever invited you for another one.",
            ),
            Self::InvitationUsed => (
                StatusCode::GONE,
                "This invitation has been accepted",
                "There is nothing left to do here: sign in with your e-mail address and your password.",
            ),
            Self::InvitationDeclined => (
                StatusCode::GONE,
                "This invitation has been declined",
                "If you changed your mind, ask whoever invited you for another one.",
            ),
            Self::InvitationExpired => (
                StatusCode::GONE,
                "This invitation has expired",
                "Ask whoever invited you to send it again: you will get a new link.",
            ),
            Self::InvitationRevoked => (
                StatusCode::GONE,
                "This invitation has been taken back",
                "If you think that is a mistake, ask whoever invited you for another one.",
            ),
            Self::InvitationSuspended => (
                StatusCode::FORBIDDEN,
                "This invitation is on hold",
                "Ask an administrator of the account to lift the suspension; this link works again afterwards until it expires.",
            ),
            Self::File => (
                StatusCode::NOT_FOUND,
                "There is no file here",
                "A link to a file works for a while, and only as long as you may read what is in it. Go back to where you got the link and ask for another one.",
            ),
            Self::SignUp => (
                StatusCode::GONE,
                "This link does not work any more",
                "If you have confirmed your address before, sign in; otherwise sign up again to get a new link.",
            ),
            Self::LoginEmail => (
                StatusCode::GONE,
                "This link does not work any more",
                "It was used, it is too old, or the change was given up. You sign in with the address that you were told of last; if you cannot, ask an administrator of the account.",
            ),
            Self::PasswordReset => (
                StatusCode::GONE,
                "This link does not work any more",
                "If you still need a new password, ask for another mail where you sign in: each link works once and for a short time.",
            ),
        }
    }
}
