//! How a composed mail leaves: to a mail server, or into the development outbox.

mod outbox;
mod smtp;

use std::path::Path;
use std::sync::Arc;

use domain::infra::config::{self, MailTransport};
use futures::future::BoxFuture;

use super::compose::Composed;
use outbox::Outbox;
use smtp::Smtp;

/// What became of a mail. Replies are one line without e-mail addresses, at most 500 characters, fit to be stored and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The other side has taken it over.
    Accepted {
        /// What it said.
        reply: String,
    },
    /// Not now: the same mail, under the same Message-ID, is to be sent again later. It may have arrived all the same.
    Deferred {
        /// Why, for machines: `SMTP_UNREACHABLE`, `SMTP_TLS`, `SMTP_AUTHENTICATION`, `SMTP_BUSY`, `SMTP_TIMEOUT`,
        /// `SMTP_INTERRUPTED`, `SMTP_TEMPORARY` or `OUTBOX_NOT_WRITTEN`.
        code: &'static str,
        /// What the other side said, if anything.
        reply: Option<String>,
    },
    /// Never: the other side refuses this mail.
    Refused {
        /// What it said.
        reply: String,
    },
}

/// Why no mail can be sent at present, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct ProbeFault {
    /// As in [`Delivery::Deferred`].
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Takes mails away.
pub trait Transport: Send + Sync {
    /// Hands a mail over, within 10 s.
    fn send<'a>(&'a self, mail: &'a Composed) -> BoxFuture<'a, Delivery>;

    /// Whether mail could be sent now, within 10 s; sends none.
    fn probe(&self) -> BoxFuture<'_, Result<(), ProbeFault>>;
}

/// The settings describe no transport.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The file with the private authority's certificates cannot be read.
    #[error("mail.smtp.ca_file {path}: {source}")]
    AuthorityFile {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or the server's name cannot be used for TLS.
    #[error("mail.smtp: TLS cannot be set up: {0}")]
    Tls(lettre::transport::smtp::Error),
}

/// The transport that the settings name; the outbox is `mail` below `data_dir`.
pub fn transport(config: &config::Mail, data_dir: &Path) -> Result<Arc<dyn Transport>, TransportError> {
    Ok(match config.transport {
        MailTransport::Smtp => Arc::new(Smtp::new(config)?),
        MailTransport::Outbox => Arc::new(Outbox::new(data_dir.join("mail"))),
    })
}

#[cfg(test)]
pub(crate) mod test_mail;
