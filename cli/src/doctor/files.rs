//! The configuration file, the data folder and the installation key.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use domain::infra::config::{Config, Loaded, Origin};
use domain::infra::keys::{self, KeyError};

use super::Finding;

/// Whether the file, if it holds secrets, is its owner's alone.
pub(super) fn configuration(loaded: &Loaded) -> Vec<Finding> {
    let settings = loaded.effective();
    let set = settings.iter().filter(|setting| setting.origin != Origin::Default).count();
    let mut findings = vec![Finding::ok(format!("valid; {set} of {} settings are set", settings.len()))];
    let holds_secret = settings.iter().find_map(|setting| match &setting.origin {
        Origin::File(path) if setting.value.as_deref() == Some("***") => Some(path),
        _ => None,
    });
    if let Some(path) = holds_secret.filter(|path| path.metadata().is_ok_and(|metadata| metadata.mode() & 0o004 != 0)) {
        findings.push(Finding::warning(
            format!("{} holds secrets and every user of this host can read it", path.display()),
            format!("run: chmod o= {}", path.display()),
        ));
    }
    if !loaded.config.limits.rate_limits {
        findings.push(Finding::warning(
            "rate limits are off",
            "set limits.rate_limits to true, unless this is a load test",
        ));
    }
    if loaded.config.password.memory_kib < 7 * 1024 {
        findings.push(Finding::warning("password hashes are cheap to guess", "set password.memory_kib to 19456"));
    }
    findings
}

/// Whether the folder can be written, and whether the key is there and sound.
pub(super) fn data_dir(config: &Config) -> Vec<Finding> {
    let folder = &config.data_dir;
    let mut findings = vec![match writable(folder) {
        Ok(true) => Finding::ok(format!("{} can be written", folder.display())),
        Ok(false) => Finding::ok(format!("{} will be created on first start", folder.display())),
        Err(error) => Finding::problem(
            format!("{} cannot be written: {error}", folder.display()),
            "let it belong to the user who runs muster, or choose another data_dir (MUSTER_DATA_DIR)",
        ),
    }];
    findings.push(match keys::existing(config) {
        Ok(key) => Finding::ok(format!("the installation key (version {}) is sound", key.version)),
        Err(KeyError::Missing { .. }) => Finding::ok("the installation key will be created on first start"),
        Err(error @ KeyError::Exposed { .. }) => {
            Finding::problem(error.to_string(), "then consider whether it was read")
        }
        Err(error) => Finding::problem(error.to_string(), "until then nothing starts"),
    });
    findings
}

/// Whether the folder is there; an error if it, or the nearest one above it that is there, cannot be written.
fn writable(folder: &Path) -> std::io::Result<bool> {
    let there = folder.ancestors().find(|ancestor| ancestor.is_dir() || ancestor.as_os_str().is_empty());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = there.join(format!(".muster-doctor-{}", uuid::Uuid::new_v4()));
    std::fs::write(&probe, "")?;
    std::fs::remove_file(&probe)?;
    Ok(there == folder)
}
