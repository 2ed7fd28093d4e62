//! Outgoing mail: what is said ([`Mail`]), how it becomes a message ([`Composer`]), and how it leaves ([`Transport`]).

mod clean;
mod compose;
mod template;
pub(crate) mod transport;

pub use compose::{ComposeError, Composed, Composer, Recipient};
pub use template::{TemplateError, TemplateProblem};
pub use transport::{Delivery, ProbeFault, Transport, TransportError, transport};

use domain::billing::notice::Told;
use domain::infra::clock::{Date, Timestamp};

/// A mail and what it says. Names and messages come from people and may contain anything; links come from this
/// installation.
#[derive(Clone, PartialEq, Eq)]
pub enum Mail {
    /// Somebody is invited to an account.
    Invitation {
        /// The account.
        account_name: String,
        /// Who invites; none for an operator.
        inviter_name: Option<String>,
        /// The invited person's first name, if known.
        first_name: Option<String>,
        /// The inviter's own words, as plain text with line breaks.
        message: Option<String>,
        /// The page that accepts or declines.
        url: String,
        /// How long the link works, as people say it: `24 hours`.
        lifetime: String,
    },
    /// Somebody signed up; the address has to be confirmed.
    SignUpConfirm {
        /// Who signed up.
        first_name: String,
        /// The account that will be created.
        account_name: String,
        /// The page that confirms.
        url: String,
        /// How long the link works, as people say it: `24 hours`.
        valid_for: String,
    },
    /// Somebody tried to sign up with an address that can sign in already.
    SignUpExisting {
        /// The page to sign in, if there is one to link to.
        sign_in_url: Option<String>,
    },
    /// Somebody asked for a new password.
    PasswordReset {
        /// The page to choose one.
        url: String,
        /// How long the link works, as people say it: `1 hour`.
        valid_for: String,
    },
    /// A new login e-mail has to be confirmed.
    LoginEmailConfirm {
        /// The account it was asked for in.
        account_name: String,
        /// The page that confirms.
        url: String,
        /// How long the link works, as people say it: `24 hours`.
        valid_for: String,
    },
    /// The old login e-mail has to agree to the new one.
    LoginEmailApprove {
        /// The account it was asked for in.
        account_name: String,
        /// The address to be.
        new_email: String,
        /// The page to agree on.
        url: String,
        /// How long the link works, as people say it: `24 hours`.
        valid_for: String,
    },
    /// A new login e-mail was asked for; the old one is told.
    LoginEmailRequested {
        /// The account it was asked for in.
        account_name: String,
        /// The address to be.
        new_email: String,
        /// The page to keep the old one on.
        url: String,
    },
    /// The login e-mail was changed; the old one is told.
    LoginEmailChanged {
        /// The address from then on.
        new_email: String,
        /// When.
        when: Timestamp,
        /// The page to take it back on.
        url: String,
        /// How long the link works, as people say it: `7 days`.
        valid_for: String,
    },
    /// The password was changed.
    PasswordChanged {
        /// When.
        when: Timestamp,
        /// The page to ask for a new password on, if it was somebody else and there is one to link to.
        reset_url: Option<String>,
    },
    /// Somebody took over what others were responsible for.
    Succession {
        /// The account.
        account_name: String,
        /// Who took over.
        first_name: Option<String>,
        /// How many things it is.
        things: u32,
    },
    /// An import of members has ended.
    ImportSummary(ImportSummary),
    /// A membership ends by its date.
    ValidityEnd {
        /// The account.
        account_name: String,
        /// Whose it is.
        first_name: Option<String>,
        /// The last day.
        last_day: Date,
    },
    /// Something about licences or money.
    Billing {
        /// The account.
        account_name: String,
        /// Who is told.
        first_name: Option<String>,
        /// What.
        told: Told,
    },
}

/// What an import came to, for whoever started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportSummary {
    /// The account.
    pub account_name: String,
    /// Who started it.
    pub first_name: Option<String>,
    /// Whether it only said what would happen.
    pub dry_run: bool,
    /// Whether rows took effect.
    pub applied: bool,
    /// Whether somebody stopped it.
    pub canceled: bool,
    /// Why it ended early, or what rows lacked that have no other fault.
    pub problem: Option<String>,
    /// Rows of the file, if it could be read.
    pub rows: Option<i32>,
    /// Rows that become members.
    pub invited: i32,
    /// Rows that change members.
    pub updated: i32,
    /// Rows that say what is stored.
    pub unchanged: i32,
    /// Rows with faults.
    pub rejected: i32,
    /// Where the rows with faults can be fetched.
    pub failed_rows_url: Option<String>,
}
