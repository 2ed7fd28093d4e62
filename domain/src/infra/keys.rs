//! Where the secret of the installation is kept, from which links in mails are derived.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::config::Config;
use super::secret::TokenKey;

/// The only version, until keys can be rotated.
const VERSION: i32 = 1;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system refused.
    #[error("cannot read or create {path}: {source}; the folder must belong to the user who runs muster")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The service has not created one here.
    #[error(
        "there is no installation key at {path}; name the data_dir or installation_key that the service uses, or start it first"
    )]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// Somebody else on the host could read it.
    #[error("{path} can be read by other users of this host; run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is not 64 hexadecimal digits.
    #[error(
        "{origin} is not 64 hexadecimal digits; restore it from a backup (a new key makes the links in mails already sent invalid)"
    )]
    Malformed {
        /// The file or setting.
        origin: String,
    },
}

/// Takes the key from the configuration, or from `data_dir/keys`, where it is created on first use.
///
/// Processes that start at once on the same folder get the same key.
pub fn load(config: &Config) -> Result<TokenKey, KeyError> {
    let path = path(config);
    let is_kept_here = config.installation_key.is_none();
    if is_kept_here && !path.try_exists().map_err(|source| KeyError::Io { path: path.clone(), source })? {
        create(&path)?;
    }
    existing(config)
}

/// Takes the key that the service uses. Nothing is created: an operator's command that is run elsewhere, or as somebody else,
/// must not leave a key that the service does not find or cannot read.
pub fn existing(config: &Config) -> Result<TokenKey, KeyError> {
    if let Some(key) = &config.installation_key {
        return parse(key.expose_secret(), || "installation_key".to_owned());
    }
    read(&path(config))
}

/// The file the key is kept in where the configuration has none.
pub fn path(config: &Config) -> PathBuf {
    config.data_dir.join("keys/installation-1.key")
}

fn read(path: &Path) -> Result<TokenKey, KeyError> {
    let io = |source: io::Error| match source.kind() {
        ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => KeyError::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.mode() & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned() });
    }
    let mut text = String::new();
    match file.take(1024).read_to_string(&mut text) {
        Ok(_) => parse(text.trim_end(), || path.display().to_string()),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(KeyError::Malformed { origin: path.display().to_string() })
        }
        Err(error) => Err(io(error)),
    }
}

fn parse(text: &str, origin: impl Fn() -> String) -> Result<TokenKey, KeyError> {
    let malformed = || KeyError::Malformed { origin: origin() };
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| malformed())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| malformed())?;
    }
    Ok(TokenKey::new(VERSION, bytes))
}

/// Creates the key, unless another process is quicker. It is written under another name and then linked, because `link` fails
/// where the name exists: nobody ever sees, or overwrites, half a key.
fn create(path: &Path) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let folder = path.parent().expect("the path has a folder");
    if let Some(data_dir) = folder.parent() {
        std::fs::create_dir_all(data_dir).map_err(|source| KeyError::Io { path: data_dir.to_owned(), source })?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io(error)),
        _ => {}
    }
    let draft = folder.join(format!(".installation-1.{}", uuid::Uuid::new_v4()));
    let linked = write_draft(&draft).and_then(|()| match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = std::fs::remove_file(&draft);
    linked.and(removed).and_then(|()| File::open(folder)?.sync_all()).map_err(io)
}

fn write_draft(path: &Path) -> io::Result<()> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    for byte in bytes {
        write!(file, "{byte:02x}")?;
    }
    writeln!(file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Stands for the bytes, which nobody can look at.
    fn digest(key: &TokenKey) -> [u8; 32] {
        key.digest("test", "")
    }

    fn config() -> Config {
        let mut config = Config::defaults("postgres://localhost/muster");
        config.data_dir = std::env::temp_dir().join(format!("muster-keys-{}", uuid::Uuid::new_v4()));
        config
    }

    #[test]
    fn is_created_once_for_its_owner_only() {
        let config = config();
        assert!(matches!(existing(&config), Err(KeyError::Missing { .. })));
        assert!(!config.data_dir.exists(), "looking for the key leaves nothing behind");
        let first = digest(&load(&config).unwrap());
        assert_eq!(digest(&load(&config).unwrap()), first);
        assert_eq!(digest(&existing(&config).unwrap()), first);
        let path = path(&config);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1, "no draft is left");
        std::fs::remove_dir_all(&config.data_dir).unwrap();
    }

    #[test]
    fn starters_at_once_get_the_same_key() {
        let config = config();
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..16).map(|_| scope.spawn(|| digest(&load(&config).unwrap()))).collect();
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        std::fs::remove_dir_all(&config.data_dir).unwrap();
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let config = config();
        load(&config).unwrap();
        let path = path(&config);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(&config), Err(KeyError::Exposed { .. })));
        std::fs::remove_dir_all(&config.data_dir).unwrap();
    }

    #[test]
    fn a_damaged_file_is_refused_and_kept() {
        let config = config();
        load(&config).unwrap();
        let path = path(&config);
        for damaged in ["", "abc", "+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1"] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(load(&config), Err(KeyError::Malformed { .. })), "{damaged}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
        }
        std::fs::remove_dir_all(&config.data_dir).unwrap();
    }

    #[test]
    fn a_configured_key_wins_and_is_never_printed() {
        let mut config = config();
        config.installation_key = Some("ab".repeat(32).into());
        let key = load(&config).unwrap();
        assert_eq!(digest(&key), digest(&TokenKey::new(1, [0xab; 32])));
        assert!(!config.data_dir.exists());
        assert_eq!(format!("{key:?}"), "TokenKey { version: 1, .. }");
    }
}
