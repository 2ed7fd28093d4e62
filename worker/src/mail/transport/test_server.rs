//! What the tests of the transports share: a folder, a mail, and the mail server of `tests/clients`.

use domain::infra::clock::Timestamp;
use domain::infra::config::{Mail as MailConfig, MailTransport, Smtp, SmtpTls};

use crate::mail::{Composed, Composer, Mail, Recipient};

// The tests of the whole start the same server.
#[path = "../../../../tests/support/mail_server.rs"]
mod mail_server;

pub(crate) use mail_server::{Folder, Server, Spooled};

/// Settings for a server on `port` of this host.
pub(crate) fn settings(port: u16) -> MailConfig {
    MailConfig {
        transport: MailTransport::Smtp,
        from: "Muster <muster@muster.example>".to_owned(),
        templates_dir: None,
        smtp: Smtp {
            host: "localhost".to_owned(),
            port,
            tls: SmtpTls::None,
            ca_file: None,
            username: None,
            password: None,
            connections: 4,
        },
    }
}

/// A mail to `address`.
pub(crate) fn composed(address: &str, message_id: &str) -> Composed {
    let mail = Mail::PasswordReset { url: "https://muster.example/p/1".to_owned(), valid_for: "1 hour".to_owned() };
    let date = Timestamp("2026-11-21T19:00:00Z".parse().unwrap());
    let composer = Composer::new(&settings(25)).unwrap();
    composer.compose(&mail, Recipient { name: None, address }, message_id, date).unwrap()
}
