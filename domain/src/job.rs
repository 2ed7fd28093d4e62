//! Every kind of work for the worker: its name, its lane, how long it may run and how often it is tried.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

/// Jobs of different lanes never wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Somebody waits for it.
    Interactive,
    /// Takes long, may wait.
    Bulk,
    /// Talks to a payment gateway.
    Money,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Bulk, Self::Money];

    /// As stored in `outbox.lane` and `relay.lane`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "INTERACTIVE",
            Self::Bulk => "BULK",
            Self::Money => "MONEY",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is not in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known name")]
pub struct UnknownName;

impl FromStr for Lane {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == name).ok_or(UnknownName)
    }
}

/// The catalogue of kinds. A name is stored in rows, so it is never given to another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// The link to accept an invitation.
    MailInvitation,
    /// The link to confirm a sign-up, or the notice that the address has a login already.
    MailSignUp,
    /// The link to choose a new password.
    MailPasswordReset,
    /// Notice that the password was changed.
    MailPasswordChanged,
    /// Notice that somebody took over what others were responsible for.
    MailSuccession,
    /// Notice that a membership ends by its date.
    MailValidityEnd,
    /// The link that confirms a new login e-mail.
    MailLoginEmailConfirm,
    /// What the old login e-mail is told, or asked, of a change.
    MailLoginEmailNotice,
    /// Something about licences or money, to the owner and those who manage billing.
    MailBilling,
    /// The charge for licences that somebody adds.
    ChargeChange,
    /// The collection of a statement.
    ChargeStatement,
    /// Money that goes back.
    Refund,
    /// What an import came to, for whoever started it.
    MailImportSummary,
    /// The rows of an uploaded CSV file.
    ImportMembers,
    /// The invitations of an import that were made without a mail.
    SendImportInvitations,
    /// An uploaded file that has rows of somebody who was deleted.
    EraseUpload,
    /// A file that somebody asked for.
    MakeExport,
    /// Such a file that names somebody who was deleted.
    EraseExport,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 18] = [
        Self::MailInvitation,
        Self::MailSignUp,
        Self::MailPasswordReset,
        Self::MailPasswordChanged,
        Self::MailSuccession,
        Self::MailValidityEnd,
        Self::MailLoginEmailConfirm,
        Self::MailLoginEmailNotice,
        Self::MailBilling,
        Self::ChargeChange,
        Self::ChargeStatement,
        Self::Refund,
        Self::MailImportSummary,
        Self::ImportMembers,
        Self::SendImportInvitations,
        Self::EraseUpload,
        Self::MakeExport,
        Self::EraseExport,
    ];

    /// As stored in `outbox.kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MailInvitation => "mail.invitation",
            Self::MailSignUp => "mail.sign_up",
            Self::MailPasswordReset => "mail.password_reset",
            Self::MailPasswordChanged => "mail.password_changed",
            Self::MailSuccession => "mail.succession",
            Self::MailValidityEnd => "mail.validity_end",
            Self::MailLoginEmailConfirm => "mail.login_email_confirm",
            Self::MailLoginEmailNotice => "mail.login_email_notice",
            Self::MailBilling => "mail.billing",
            Self::ChargeChange => "charge.change",
            Self::ChargeStatement => "charge.statement",
            Self::Refund => "charge.refund",
            Self::MailImportSummary => "mail.import_summary",
            Self::ImportMembers => "import.members",
            Self::SendImportInvitations => "import.send_invitations",
            Self::EraseUpload => "upload.erase",
            Self::MakeExport => "export.make",
            Self::EraseExport => "export.erase",
        }
    }

    /// The lane its jobs travel in.
    pub const fn lane(self) -> Lane {
        match self {
            Self::MailInvitation
            | Self::MailSignUp
            | Self::MailPasswordReset
            | Self::MailPasswordChanged
            | Self::MailSuccession
            | Self::MailValidityEnd
            | Self::MailLoginEmailConfirm
            | Self::MailLoginEmailNotice
            | Self::MailBilling
            | Self::MailImportSummary => Lane::Interactive,
            Self::ChargeChange | Self::ChargeStatement | Self::Refund => Lane::Money,
            Self::ImportMembers
            | Self::SendImportInvitations
            | Self::EraseUpload
            | Self::MakeExport
            | Self::EraseExport => Lane::Bulk,
        }
    }

    /// How long one attempt may run before it is cut off and tried again.
    pub const fn time_out(self) -> SignedDuration {
        match self.lane() {
            // 10 s for the mail server or the gateway, the rest for the database around it.
            Lane::Interactive | Lane::Money => SignedDuration::from_secs(30),
            Lane::Bulk => SignedDuration::from_hours(2),
        }
    }

    /// Attempts until a job is dead. Operators' replays start from none.
    pub const fn max_attempts(self) -> i32 {
        match self.lane() {
            // With the back-off below, about 72 hours: as long as a mail server is expected to come back.
            Lane::Interactive | Lane::Money => 82,
            Lane::Bulk => 20,
        }
    }

    /// The pause before the attempt that follows `attempts` made ones: 5 s, doubled each time, at most an hour, between 75 and
    /// 125 % of it by `jitter` (0 to 1).
    pub fn back_off(self, attempts: i32, jitter: f64) -> SignedDuration {
        back_off(attempts, jitter)
    }
}

/// See [`JobKind::back_off`].
pub fn back_off(attempts: i32, jitter: f64) -> SignedDuration {
    let doublings = attempts.saturating_sub(1).clamp(0, 10);
    let seconds = f64::from(5 << doublings).min(3600.0);
    SignedDuration::from_secs_f64(seconds * (0.75 + jitter.clamp(0.0, 1.0) / 2.0))
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobKind {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(UnknownName)
    }
}

/// A job to be written with the state change that asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The account it belongs to; nil for none.
    pub account_id: Uuid,
    /// What is to be done.
    pub kind: JobKind,
    /// What it is about: ids and numbers only.
    pub payload: Value,
    /// While a job of the same account, kind and key is unfinished, a second one is not written. That job may have read its
    /// subject already, so the key names everything that makes new work of it (a token's generation, say).
    pub dedupe_key: String,
}

/// A job that this process holds until its lease lapses.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The row.
    pub job_id: Uuid,
    /// What the row must still carry when the job's outcome is written.
    pub claim: Uuid,
    /// The account it belongs to; nil for none.
    pub account_id: Uuid,
    /// As stored: it may be a kind that this version does not know.
    pub kind: String,
    /// As stored.
    pub payload: Value,
    /// Attempts made, with this one.
    pub attempts: i32,
    /// Whether workers that do not know its kind have left it to others for an hour.
    pub left_long: bool,
    /// The request that asked for it.
    pub request_id: Option<String>,
    /// The span that asked for it, as a `traceparent`.
    pub trace_context: Option<String>,
}

impl Claimed {
    /// The payload in its kind's shape; otherwise the verdict that the handler answers.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Verdict> {
        T::deserialize(&self.payload).map_err(|_| Verdict::Dead { code: "MALFORMED_PAYLOAD" })
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The handler's own transaction already finished, retried or buried the row under its claim.
    Settled,
    /// Finished; the row is still to be told.
    Done,
    /// Once more.
    Retry {
        /// Why, in capitals.
        code: &'static str,
        /// When; without it, by the kind's back-off.
        after: Option<SignedDuration>,
    },
    /// Once more, because something else has to end first: the attempt does not count.
    Wait {
        /// For what, in capitals.
        code: &'static str,
        /// When to look again.
        after: SignedDuration,
    },
    /// Never again, unless an operator replays it.
    Dead {
        /// Why, in capitals.
        code: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_kinds() {
        for kind in JobKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for lane in Lane::ALL {
            assert_eq!(lane.as_str().parse(), Ok(lane));
        }
        assert_eq!("mail.carrier_pigeon".parse::<JobKind>(), Err(UnknownName));
    }

    #[test]
    fn back_off_doubles_up_to_an_hour() {
        let seconds: Vec<_> = [1, 2, 3, 10, 11, 80].map(|attempts| back_off(attempts, 0.5).as_secs()).into();
        assert_eq!(seconds, [5, 10, 20, 2560, 3600, 3600]);
        assert_eq!(back_off(i32::MIN, 0.0).as_millis(), 3750);
        assert_eq!(back_off(i32::MAX, 1.0).as_secs(), 4500);
    }

    #[test]
    fn mail_is_tried_for_about_three_days() {
        let kind = JobKind::MailInvitation;
        let total: SignedDuration = (1..kind.max_attempts()).map(|made| kind.back_off(made, 0.5)).sum();
        assert!((71..=73).contains(&total.as_hours()), "{total}");
    }
}
