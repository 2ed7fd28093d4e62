//! Turns a [`Mail`] into the bytes that are sent: `multipart/alternative` with text and HTML, the same for the same input.

use std::borrow::Cow;
use std::time::SystemTime;

use domain::billing::notice::Told;
use domain::infra::clock::{Date, Timestamp};
use domain::infra::{config, email_address};
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, MultiPartKind, SinglePart};
use lettre::{Address, Message};
use minijinja::context;
use minijinja::value::Value;

use super::clean;
use super::template::{Rendered, TemplateError, TemplateProblem, Templates};
use super::{ImportSummary, Mail};

/// Between the parts. `=_` occurs in neither quoted-printable nor base64, so no text can contain it.
const BOUNDARY: &str = "=_muster_alternative";
/// Characters of a Message-ID without its brackets: it also names a file of the outbox.
const MESSAGE_ID_CHARACTERS: usize = 150;

/// Whom a mail goes to.
#[derive(Clone, Copy)]
pub struct Recipient<'a> {
    /// Name as people typed it.
    pub name: Option<&'a str>,
    /// Address.
    pub address: &'a str,
}

/// A mail that is ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Composed {
    /// Sender and recipient for the mail server.
    pub envelope: Envelope,
    /// The Message-ID without its brackets: the same for a repeat of the same mail.
    pub message_id: String,
    /// The `Date` of the mail.
    pub date: Timestamp,
    /// The message, with CRLF.
    pub raw: Vec<u8>,
}

impl std::fmt::Debug for Composed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Composed")
            .field("message_id", &self.message_id)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// Why a mail cannot be composed. Sending it again helps nobody until it is mended. Contains no address, name or link.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The recipient's address cannot be written in a mail.
    #[error("the recipient's address cannot be used in a mail")]
    Address,
    /// The Message-ID is not `id@domain` in at most 150 printable ASCII characters.
    #[error("the Message-ID is malformed")]
    MessageId,
    /// A template failed on these values.
    #[error("mail template {0}")]
    Template(TemplateProblem),
    /// The message cannot be put together.
    #[error("the message cannot be put together: {0}")]
    Message(#[from] lettre::error::Error),
}

/// Composes mails from the templates, which are parsed and tried once.
pub struct Composer {
    templates: Templates,
    from: Mailbox,
    /// Who sends, as the bottom of a mail names it.
    sender: String,
}

impl Composer {
    /// Parses all templates, an operator's in place of the built-in ones, and renders each with sample values.
    pub fn new(config: &config::Mail) -> Result<Self, TemplateError> {
        let (composer, problems) = Self::load(config);
        match composer {
            Some(composer) if problems.is_empty() => Ok(composer),
            _ => Err(TemplateError(problems)),
        }
    }

    /// Everything that is wrong with sender and templates, for the operator.
    pub fn check(config: &config::Mail) -> Vec<TemplateProblem> {
        Self::load(config).1
    }

    fn load(config: &config::Mail) -> (Option<Self>, Vec<TemplateProblem>) {
        let (templates, mut problems) = Templates::load(config.templates_dir.as_deref());
        let Some(from) = mailbox_of(&config.from) else {
            let message = "is not a sender like `Muster <muster@example.com>`".to_owned();
            problems.push(TemplateProblem { file: "mail.from".to_owned(), line: None, message });
            return (None, problems);
        };
        let sender = from.name.clone().unwrap_or_else(|| from.email.domain().to_owned());
        let composer = Self { templates, from, sender };
        for mail in samples() {
            let tried = composer.templates.render(folder(&mail), &composer.values(&mail));
            problems.extend(tried.err().filter(|problem| !problems.contains(problem)));
        }
        (Some(composer), problems)
    }

    /// The sender's domain as it stands in Message-IDs.
    pub fn domain(&self) -> Cow<'_, str> {
        let domain = self.from.email.domain();
        if is_message_id_part(domain) {
            return Cow::Borrowed(domain);
        }
        // Outside ASCII, or an IP address in brackets.
        email_address::normalise_domain(domain).unwrap_or(Cow::Borrowed("localhost"))
    }

    /// The mail as it is sent.
    ///
    /// `message_id` is `id@domain` without brackets, and the same whenever the same mail is sent again.
    pub fn compose(
        &self,
        mail: &Mail,
        to: Recipient<'_>,
        message_id: &str,
        date: Timestamp,
    ) -> Result<Composed, ComposeError> {
        if !is_message_id(message_id) {
            return Err(ComposeError::MessageId);
        }
        let address: Address = to.address.parse().map_err(|_| ComposeError::Address)?;
        let name = to.name.map(clean::header).filter(|name| !name.is_empty());
        let rendered = self.templates.render(folder(mail), &self.values(mail)).map_err(ComposeError::Template)?;
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![address.clone()])?;
        let message = Message::builder()
            .date(SystemTime::from(date.0))
            .from(self.from.clone())
            .to(Mailbox::new(name, address))
            .subject(clean::header(&rendered.subject))
            .message_id(Some(format!("<{message_id}>")))
            .header(AutoSubmitted)
            .envelope(envelope.clone())
            .multipart(alternative(rendered))?;
        Ok(Composed { envelope, message_id: message_id.to_owned(), date, raw: message.formatted() })
    }

    /// The values of a mail's templates, cleaned: no template can forget to.
    fn values(&self, mail: &Mail) -> Value {
        let shared = context! { sender => self.sender.as_str() };
        let own = match mail {
            Mail::Invitation { account_name, inviter_name, first_name, message, url, lifetime } => context! {
                account_name => clean::line(account_name),
                inviter_name => optional(inviter_name.as_deref()),
                first_name => optional(first_name.as_deref()),
                message_lines => message.as_deref().map(clean::lines).unwrap_or_default(),
                url,
                lifetime,
            },
            Mail::SignUpConfirm { first_name, account_name, url, valid_for } => context! {
                first_name => clean::line(first_name),
                account_name => clean::line(account_name),
                url,
                valid_for,
            },
            Mail::SignUpExisting { sign_in_url } => context! { sign_in_url },
            Mail::PasswordReset { url, valid_for } => context! { url, valid_for },
            Mail::Succession { account_name, first_name, things } => context! {
                account_name => clean::line(account_name),
                first_name => optional(first_name.as_deref()),
                things => if *things == 1 { "one thing".to_owned() } else { format!("{things} things") },
            },
            Mail::ImportSummary(summary) => context! {
                account_name => clean::line(&summary.account_name),
                first_name => optional(summary.first_name.as_deref()),
                dry_run => summary.dry_run,
                applied => summary.applied,
                canceled => summary.canceled,
                problem => summary.problem.as_deref().map(clean::line),
                rows => summary.rows,
                invited => summary.invited,
                updated => summary.updated,
                unchanged => summary.unchanged,
                rejected => summary.rejected,
                failed_rows_url => summary.failed_rows_url.as_deref(),
            },
            Mail::ValidityEnd { account_name, first_name, last_day } => context! {
                account_name => clean::line(account_name),
                first_name => optional(first_name.as_deref()),
                last_day => last_day.0.strftime("%-d %B %Y").to_string(),
            },
            Mail::Billing { account_name, first_name, told } => context! {
                account_name => clean::line(account_name),
                first_name => optional(first_name.as_deref()),
                ..billing(told),
            },
            Mail::LoginEmailConfirm { account_name, url, valid_for } => context! {
                account_name => clean::line(account_name),
                url,
                valid_for,
            },
            Mail::LoginEmailApprove { account_name, new_email, url, valid_for } => context! {
                account_name => clean::line(account_name),
                new_email,
                url,
                valid_for,
            },
            Mail::LoginEmailRequested { account_name, new_email, url } => context! {
                account_name => clean::line(account_name),
                new_email,
                url,
            },
            Mail::LoginEmailChanged { new_email, when, url, valid_for } => context! {
                new_email,
                when => moment(*when),
                url,
                valid_for,
            },
            Mail::PasswordChanged { when, reset_url } => context! { when => moment(*when), reset_url },
        };
        context! { ..own, ..shared }
    }
}

/// The values of what is told about licences or money.
fn billing(told: &Told) -> Value {
    match told {
        Told::ChargeFailed { amount, reason } => context! { about => "CHARGE_FAILED", amount, reason },
        Told::PastDue { number, amount } => context! { about => "PAST_DUE", number, amount },
        Told::SeatsLow { product, owned, available } => {
            context! { about => "SEATS_LOW", product => clean::line(product), owned, available }
        }
        Told::WishUnmet { person, products } => {
            context! { about => "WISH_UNMET", person => clean::line(person), products => clean::line(products) }
        }
        Told::TrialEnding { product, ends_on, allocated, opted_out } => context! {
            about => "TRIAL_ENDING",
            product => clean::line(product),
            ends_on => ends_on.0.strftime("%-d %B %Y").to_string(),
            allocated,
            opted_out,
        },
    }
}

/// A name, or none if nothing visible is left of it.
fn optional(name: Option<&str>) -> Option<String> {
    name.map(clean::line).filter(|name| !name.is_empty())
}

/// `21 November 2026 at 19:00 UTC`.
fn moment(when: Timestamp) -> String {
    when.strftime("%-d %B %Y at %H:%M UTC").to_string()
}

fn mailbox_of(text: &str) -> Option<Mailbox> {
    let parsed: Mailbox = clean::line(text).parse().ok()?;
    let name = parsed.name.as_deref().map(clean::header).filter(|name| !name.is_empty());
    Some(Mailbox::new(name, parsed.email))
}

fn is_message_id(id: &str) -> bool {
    let parts: Vec<&str> = id.split('@').collect();
    parts.len() == 2 && parts.into_iter().all(is_message_id_part) && id.len() <= MESSAGE_ID_CHARACTERS
}

fn is_message_id_part(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || ".-_+".contains(c))
}

/// The folder of a mail's templates.
fn folder(mail: &Mail) -> &'static str {
    match mail {
        Mail::Invitation { .. } => "invitation",
        Mail::SignUpConfirm { .. } => "sign-up-confirm",
        Mail::SignUpExisting { .. } => "sign-up-existing",
        Mail::PasswordReset { .. } => "password-reset",
        Mail::LoginEmailConfirm { .. } => "login-email-confirm",
        Mail::LoginEmailApprove { .. } => "login-email-approve",
        Mail::LoginEmailRequested { .. } => "login-email-requested",
        Mail::LoginEmailChanged { .. } => "login-email-changed",
        Mail::PasswordChanged { .. } => "password-changed",
        Mail::Succession { .. } => "succession",
        Mail::ImportSummary(_) => "import-summary",
        Mail::ValidityEnd { .. } => "validity-end",
        Mail::Billing { .. } => "billing",
    }
}

fn alternative(rendered: Rendered) -> MultiPart {
    MultiPart::builder()
        .kind(MultiPartKind::Alternative)
        .boundary(BOUNDARY)
        .singlepart(part(ContentType::TEXT_PLAIN, rendered.text))
        .singlepart(part(ContentType::TEXT_HTML, rendered.html))
}

/// Quoted-printable always: lettre sends a 7bit body's bare CR and LF as they are (RUSTSEC-2026-0561).
fn part(kind: ContentType, text: String) -> SinglePart {
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable)
        .expect("every text fits quoted-printable");
    SinglePart::builder().header(kind).header(ContentTransferEncoding::QuotedPrintable).body(body)
}

/// `Auto-Submitted: auto-generated` (RFC 3834): no out-of-office replies.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// Each mail with everything filled in, and those that can do without something with all of that left out.
fn samples() -> Vec<Mail> {
    let (url, valid_for) = ("https://muster.example.com/a?b=1&c=2".to_owned(), "24 hours".to_owned());
    let (account_name, first_name) = ("Doe & Roe".to_owned(), "Ann".to_owned());
    let last_day = Date(jiff::civil::date(2026, 12, 31));
    let (new_email, when) = ("ann@new.example".to_owned(), Timestamp(jiff::Timestamp::UNIX_EPOCH));
    let billing = |told| Mail::Billing { account_name: "Doe & Roe".to_owned(), first_name: None, told };
    let amount = || "12.50 EUR".to_owned();
    let trial =
        |opted_out| Told::TrialEnding { product: "Time".to_owned(), ends_on: last_day, allocated: 2, opted_out };
    vec![
        billing(Told::ChargeFailed { amount: amount(), reason: "CARD_DECLINED".to_owned() }),
        billing(Told::PastDue { number: 3, amount: amount() }),
        billing(Told::SeatsLow { product: "Seat".to_owned(), owned: 15, available: 1 }),
        billing(Told::WishUnmet { person: "Ann Lee".to_owned(), products: "Time, Other".to_owned() }),
        billing(trial(true)),
        billing(trial(false)),
        Mail::Invitation {
            account_name: account_name.clone(),
            inviter_name: Some("Jane Doe".to_owned()),
            first_name: Some(first_name.clone()),
            message: Some("Welcome!\nSee you on Monday.".to_owned()),
            url: url.clone(),
            lifetime: valid_for.clone(),
        },
        Mail::Invitation {
            account_name: account_name.clone(),
            inviter_name: None,
            first_name: None,
            message: None,
            url: url.clone(),
            lifetime: valid_for.clone(),
        },
        Mail::Succession { account_name: account_name.clone(), first_name: Some(first_name.clone()), things: 3 },
        Mail::Succession { account_name: account_name.clone(), first_name: None, things: 1 },
        Mail::ImportSummary(summary(Some(url.clone()))),
        Mail::ImportSummary(summary(None)),
        Mail::ValidityEnd { account_name: account_name.clone(), first_name: Some(first_name.clone()), last_day },
        Mail::ValidityEnd { account_name: account_name.clone(), first_name: None, last_day },
        Mail::LoginEmailConfirm { account_name: account_name.clone(), url: url.clone(), valid_for: valid_for.clone() },
        Mail::LoginEmailApprove {
            account_name: account_name.clone(),
            new_email: new_email.clone(),
            url: url.clone(),
            valid_for: valid_for.clone(),
        },
        Mail::LoginEmailRequested {
            account_name: account_name.clone(),
            new_email: new_email.clone(),
            url: url.clone(),
        },
        Mail::LoginEmailChanged { new_email, when, url: url.clone(), valid_for: valid_for.clone() },
        Mail::SignUpConfirm { first_name, account_name, url: url.clone(), valid_for: valid_for.clone() },
        Mail::SignUpExisting { sign_in_url: Some(url.clone()) },
        Mail::SignUpExisting { sign_in_url: None },
        Mail::PasswordReset { url: url.clone(), valid_for },
        Mail::PasswordChanged { when, reset_url: Some(url) },
        Mail::PasswordChanged { when, reset_url: None },
    ]
}

/// A sample, of a good import or of one that failed.
fn summary(failed_rows_url: Option<String>) -> ImportSummary {
    let good = failed_rows_url.is_some();
    ImportSummary {
        account_name: "Doe & Roe".to_owned(),
        first_name: good.then(|| "Ann".to_owned()),
        dry_run: !good,
        applied: good,
        canceled: false,
        problem: (!good).then(|| "The file is empty.".to_owned()),
        rows: good.then_some(5),
        invited: 1,
        updated: 1,
        unchanged: 1,
        rejected: 2,
        failed_rows_url,
    }
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
