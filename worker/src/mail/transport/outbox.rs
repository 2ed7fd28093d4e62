//! The development outbox: each mail becomes a file that `/dev/mail` shows.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::fs;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use super::{Delivery, ProbeFault, Transport};
use crate::mail::compose::Composed;

/// Writes `<microseconds of the Date>-<Message-ID>.eml`, readable by the owner only. A mail that is already there, whatever
/// its date, is left as it is, as a mail server that recognises a repeat would.
pub(super) struct Outbox {
    folder: PathBuf,
    /// Files by the Message-ID in their name; read from the folder once.
    known: Mutex<Option<HashMap<String, PathBuf>>>,
}

impl Outbox {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, known: Mutex::new(None) }
    }

    async fn put(&self, mail: &Composed) -> io::Result<()> {
        let id = file_part(&mail.message_id);
        let mut guard = self.known.lock().await;
        if guard.is_none() {
            create_folder(&self.folder).await?;
            *guard = Some(files_by_id(&self.folder).await?);
        }
        let known = guard.as_mut().expect("filled above");
        if let Some(path) = known.get(&id)
            && fs::try_exists(path).await?
        {
            return Ok(());
        }
        let path = self.folder.join(format!("{}-{id}.eml", mail.date.as_microsecond()));
        create_folder(&self.folder).await?;
        write(&path, &mail.raw).await?;
        known.insert(id, path);
        Ok(())
    }

    async fn try_write(&self) -> io::Result<()> {
        create_folder(&self.folder).await?;
        let path = self.folder.join(format!(".probe-{}", uuid::Uuid::new_v4()));
        write(&path, b"").await?;
        fs::remove_file(path).await
    }
}

impl Transport for Outbox {
    fn send<'a>(&'a self, mail: &'a Composed) -> BoxFuture<'a, Delivery> {
        async move {
            match self.put(mail).await {
                Ok(()) => Delivery::Accepted { reply: "written to the development outbox".to_owned() },
                Err(fault) => Delivery::Deferred { code: "OUTBOX_NOT_WRITTEN", reply: Some(fault.kind().to_string()) },
            }
        }
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), ProbeFault>> {
        async move {
            self.try_write().await.map_err(|fault| ProbeFault {
                code: "OUTBOX_NOT_WRITTEN",
                message: format!("the mail outbox {} cannot be written: {fault}", self.folder.display()),
                remedy: "let the user of this process write there, or set another data_dir",
            })
        }
        .boxed()
    }
}

/// A Message-ID as part of a file name; different ones stay different.
fn file_part(message_id: &str) -> String {
    let mut part = String::with_capacity(message_id.len());
    for byte in message_id.bytes() {
        if byte.is_ascii_alphanumeric() || b".-@".contains(&byte) {
            part.push(char::from(byte));
        } else {
            write!(part, "_{byte:02x}").expect("a string takes everything");
        }
    }
    part
}

async fn create_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).await
}

async fn files_by_id(folder: &Path) -> io::Result<HashMap<String, PathBuf>> {
    let mut files = HashMap::new();
    let mut entries = fs::read_dir(folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".eml")).and_then(|name| name.split_once('-'));
        if let Some((_, id)) = id {
            files.insert(id.to_owned(), entry.path());
        }
    }
    Ok(files)
}

/// All of the file or none: readers skip names that begin with a dot.
async fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_file_name(format!(".{}", uuid::Uuid::new_v4()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).await?;
    let written = async {
        file.write_all(content).await?;
        file.flush().await
    };
    if let Err(fault) = written.await {
        let _ = fs::remove_file(&partial).await;
        return Err(fault);
    }
    fs::rename(&partial, path).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::mail::transport::test_mail::{Folder, composed};

    async fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = files_by_id(folder)
            .await
            .unwrap()
            .into_values()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_mail_is_written_once_for_its_owner_only() {
        let folder = Folder::new();
        let outbox = Outbox::new(folder.path().join("mail"));
        let mail = composed("ann@firm.example", "job_1@muster.example");
        assert!(matches!(outbox.send(&mail).await, Delivery::Accepted { .. }));

        let mut repeat = mail.clone();
        repeat.date = repeat.date + jiff::SignedDuration::from_secs(60);
        repeat.raw.clear();
        assert!(matches!(outbox.send(&repeat).await, Delivery::Accepted { .. }));
        let after_restart = Outbox::new(folder.path().join("mail"));
        assert!(matches!(after_restart.send(&repeat).await, Delivery::Accepted { .. }));

        let names = names(&folder.path().join("mail")).await;
        assert_eq!(names, [format!("{}-job_5f1@muster.example.eml", mail.date.as_microsecond())]);
        let path = folder.path().join("mail").join(&names[0]);
        assert_eq!(std::fs::read(&path).unwrap(), mail.raw);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path().join("mail")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_defers_and_is_explained() {
        let folder = Folder::new();
        std::fs::write(folder.path().join("mail"), "a file").unwrap();
        let outbox = Outbox::new(folder.path().join("mail"));
        let mail = composed("ann@firm.example", "1@muster.example");
        assert!(matches!(outbox.send(&mail).await, Delivery::Deferred { code: "OUTBOX_NOT_WRITTEN", .. }));
        assert!(outbox.probe().await.unwrap_err().to_string().contains("data_dir"));
        assert!(Outbox::new(folder.path().join("other")).probe().await.is_ok());
    }
}
