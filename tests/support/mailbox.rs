//! Mail as people read it: the files of the development outbox.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use mail_parser::MessageParser;

/// The outbox of an installation, or the spool of a mail server.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox(PathBuf);

/// A mail that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    pub(crate) message_id: String,
}

impl Mailbox {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// All mails, the oldest first.
    pub(crate) fn all(&self) -> Result<Vec<Letter>> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Ok(Vec::new()) };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
        paths.sort_by_key(|path| number(path));
        paths.iter().map(|path| Letter::read(&std::fs::read(path)?)).collect()
    }

    /// Mails to an address, the oldest first.
    pub(crate) fn to(&self, email: &str) -> Result<Vec<Letter>> {
        Ok(self.all()?.into_iter().filter(|letter| letter.to == email).collect())
    }
}

/// What a file's name begins with: microseconds in the outbox, a count in the spool of a mail server.
fn number(path: &std::path::Path) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split(['-', '.']).next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

impl Letter {
    /// A mail as it was sent.
    pub(crate) fn read(raw: &[u8]) -> Result<Self> {
        let mail = MessageParser::default().parse(raw).context("a mail")?;
        let to = mail.to().and_then(|to| to.first()).and_then(|to| to.address()).context("a recipient")?;
        Ok(Self {
            to: to.to_owned(),
            subject: mail.subject().unwrap_or_default().to_owned(),
            text: mail.body_text(0).unwrap_or_default().into_owned(),
            html: mail.body_html(0).unwrap_or_default().into_owned(),
            message_id: mail.message_id().unwrap_or_default().to_owned(),
        })
    }

    /// The first link in the text, if there is one: some mails only tell.
    pub(crate) fn first_link(&self) -> Option<&str> {
        self.text.split_whitespace().find(|word| word.starts_with("http"))
    }

    /// The first link in the text.
    #[track_caller]
    pub(crate) fn link(&self) -> String {
        self.first_link().unwrap_or_else(|| panic!("no link in {:?}", self.text)).to_owned()
    }

    /// The token in the first link.
    #[track_caller]
    pub(crate) fn token(&self) -> String {
        self.link().rsplit('/').next().expect("a path").to_owned()
    }
}
