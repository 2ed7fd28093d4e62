//! What each page shows. Texts are plain: the templates escape them.

use serde::Serialize;

/// What a page needs to be rendered.
pub trait View: Serialize {
    /// File name of its template.
    const TEMPLATE: &'static str;
    /// Content security policy of the page.
    const POLICY: &'static str = super::PAGE_POLICY;
}

macro_rules! views {
    ($($view:ident => $template:literal),* $(,)?) => {
        $(impl View for $view {
            const TEMPLATE: &'static str = $template;
        })*
    };
}

views! {
    InvitationView => "invitation.html",
    InvitationDeclineView => "invitation-decline.html",
    InvitationAcceptedView => "invitation-accepted.html",
    InvitationDeclinedView => "invitation-declined.html",
    SignUpConfirmView => "sign-up-confirm.html",
    SignUpConfirmedView => "sign-up-confirmed.html",
    PasswordResetView => "password-reset.html",
    PasswordResetDoneView => "password-reset-done.html",
    LoginEmailConfirmView => "login-email-confirm.html",
    LoginEmailApproveView => "login-email-approve.html",
    LoginEmailRevertView => "login-email-revert.html",
    LoginEmailDoneView => "login-email-done.html",
    RootView => "root.html",
    MessageView => "message.html",
}

/// Something a person can mend in a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Name of the form's field; empty if it concerns the whole form.
    pub field: String,
    /// What to do, as a sentence.
    pub message: String,
}

/// A link to go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Where it leads.
    pub url: String,
    /// What it says.
    pub text: String,
}

/// An open invitation. The form posts `firstName`, `lastName`, `password` and `passwordAgain`, as far as they are asked for.
#[derive(Clone, Debug, Serialize)]
pub struct InvitationView {
    /// The account.
    pub account_name: String,
    /// Who invites; none for an operator.
    pub inviter_name: Option<String>,
    /// The inviter's words, with line breaks.
    pub message: Option<String>,
    /// The invited address.
    pub email: String,
    /// What has to be filled in.
    pub person: Person,
    /// Where the form is posted.
    pub action: String,
    /// The page that asks whether to decline; without a query.
    pub decline_url: String,
    /// What was wrong with the last attempt.
    pub errors: Vec<FieldError>,
}

/// Who accepts an invitation.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Person {
    /// Somebody without an identity: sets name and password.
    New {
        /// As filled in, or as the inviter gave it; may be empty.
        first_name: String,
        /// As filled in, or as the inviter gave it; may be empty.
        last_name: String,
        /// Characters a password needs.
        password_minimum: usize,
    },
    /// Somebody with an identity: gives the password, and a name only where the inviter left it out.
    Known {
        /// As filled in; none if the inviter gave it.
        first_name: Option<String>,
        /// As filled in; none if the inviter gave it.
        last_name: Option<String>,
    },
}

/// Asks whether to decline; the form posts nothing.
#[derive(Clone, Debug, Serialize)]
pub struct InvitationDeclineView {
    /// The account.
    pub account_name: String,
    /// Where the form is posted.
    pub action: String,
    /// The invitation's page.
    pub back_url: String,
    /// Why the last attempt failed.
    pub errors: Vec<FieldError>,
}

/// An invitation was accepted.
#[derive(Clone, Debug, Serialize)]
pub struct InvitationAcceptedView {
    /// The account.
    pub account_name: String,
    /// Where people sign in, if anywhere.
    pub sign_in_url: Option<String>,
}

/// An invitation was declined.
#[derive(Clone, Debug, Serialize)]
pub struct InvitationDeclinedView {
    /// The account.
    pub account_name: String,
}

/// Asks to confirm a sign-up; the form posts nothing.
#[derive(Clone, Debug, Serialize)]
pub struct SignUpConfirmView {
    /// The account to be created.
    pub account_name: String,
    /// The address to be confirmed.
    pub email: String,
    /// Where the form is posted.
    pub action: String,
    /// Why the last attempt failed.
    pub errors: Vec<FieldError>,
}

/// A sign-up was confirmed.
#[derive(Clone, Debug, Serialize)]
pub struct SignUpConfirmedView {
    /// The account that was created.
    pub account_name: String,
    /// Where people sign in, if anywhere.
    pub sign_in_url: Option<String>,
}

/// Asks for a new password; the form posts `password` and `passwordAgain`.
#[derive(Clone, Debug, Serialize)]
pub struct PasswordResetView {
    /// Whose password.
    pub email: String,
    /// Characters a password needs.
    pub password_minimum: usize,
    /// Where the form is posted.
    pub action: String,
    /// What was wrong with the last attempt.
    pub errors: Vec<FieldError>,
}

/// A password was set.
#[derive(Clone, Debug, Serialize)]
pub struct PasswordResetDoneView {
    /// Where people sign in, if anywhere.
    pub sign_in_url: Option<String>,
}

/// Asks to confirm a new login e-mail; the form posts nothing.
#[derive(Clone, Debug, Serialize)]
pub struct LoginEmailConfirmView {
    /// The address from then on.
    pub new_email: String,
    /// Where the form is posted.
    pub action: String,
    /// Why the last attempt failed.
    pub errors: Vec<FieldError>,
}

/// Asks the old login e-mail to agree; the form posts nothing.
#[derive(Clone, Debug, Serialize)]
pub struct LoginEmailApproveView {
    /// The address until now.
    pub old_email: String,
    /// The address from then on.
    pub new_email: String,
    /// Where the form is posted.
    pub action: String,
    /// Why the last attempt failed.
    pub errors: Vec<FieldError>,
}

/// Asks whether to keep the old login e-mail, or to take it back; the form posts nothing.
#[derive(Clone, Debug, Serialize)]
pub struct LoginEmailRevertView {
    /// Whether the change is done.
    pub changed: bool,
    /// The address before the change.
    pub old_email: String,
    /// The address after it.
    pub new_email: String,
    /// Where the form is posted.
    pub action: String,
    /// Why the last attempt failed.
    pub errors: Vec<FieldError>,
}

/// What became of a change of the login e-mail.
#[derive(Clone, Debug, Serialize)]
pub struct LoginEmailDoneView {
    /// Heading.
    pub title: String,
    /// What is the case and what to do.
    pub text: String,
    /// Where people sign in, if anywhere.
    pub sign_in_url: Option<String>,
}

/// What is at the root.
#[derive(Clone, Debug, Serialize)]
pub struct RootView {
    /// Where people sign in, if anywhere.
    pub sign_in_url: Option<String>,
    /// The explorer, where whoever looks is likely to develop.
    pub explorer_url: Option<String>,
}

/// Any other page that says one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MessageView {
    /// Heading.
    pub title: String,
    /// What is the case and what to do.
    pub text: String,
    /// Where to go on.
    pub link: Option<Link>,
}
