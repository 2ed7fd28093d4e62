//! What the tests of mail share: settings, a mail, and a folder.

use std::path::{Path, PathBuf};

use domain::infra::clock::Timestamp;
use domain::infra::config::{Mail as MailConfig, MailTransport, Smtp, SmtpTls};

use crate::mail::{Composed, Composer, Mail, Recipient};

/// A folder that goes away with this value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("mail-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Settings for a server on `port` of this host.
pub(crate) fn settings(port: u16) -> MailConfig {
    MailConfig {
        transport: MailTransport::Smtp,
        from: "Muster <muster@muster.example>".to_owned(),
        templates_dir: None,
        allowed_personal_domains: Vec::new(),
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
