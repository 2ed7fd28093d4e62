//! The mail server of `tests/clients`, as a process that ends with its value.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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

/// A mail that the server took.
pub(crate) struct Spooled {
    pub(crate) raw: Vec<u8>,
    pub(crate) facts: serde_json::Value,
}

/// A running mail server; it ends with this value.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
    folder: Folder,
}

impl Server {
    /// Starts `tests/clients/smtp_server.py` with more arguments, after installing what it needs.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
        let installed =
            Command::new("python3").arg(clients.join("install.py")).output().expect("python3 is needed for this test");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let folder = Folder::new();
        let mut process = Command::new("python3")
            .env("PYTHONPATH", String::from_utf8(installed.stdout).unwrap().trim())
            .arg(clients.join("smtp_server.py"))
            .args([folder.path().join("port"), folder.path().join("spool")])
            .arg("--until-eof")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { port: line.trim().parse().expect("the server prints its port"), process, folder }
    }

    /// What the server took, in order.
    pub(crate) fn mails(&self) -> Vec<Spooled> {
        let spool = self.spool();
        (1..)
            .map_while(|number| {
                let raw = std::fs::read(spool.join(format!("{number}.eml"))).ok()?;
                let facts = std::fs::read(spool.join(format!("{number}.json"))).ok()?;
                Some(Spooled { raw, facts: serde_json::from_slice(&facts).unwrap() })
            })
            .collect()
    }

    /// Where the mails are, as `<number>.eml` from 1 on.
    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
