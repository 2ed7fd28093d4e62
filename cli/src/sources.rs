//! Where this process reads its configuration from.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use domain::infra::config::{Loaded, Sources, load};

/// The file taken if it is there and no other is named.
const DEFAULT_FILE: &str = "muster.toml";

#[derive(Args)]
pub(crate) struct SourceArgs {
    /// Configuration file [default: `$MUSTER_CONFIG`, or muster.toml if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Set one value, like `--set http.listen=0.0.0.0:8080`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", global = true, value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("wanted: KEY=VALUE, for example http.listen=0.0.0.0:8080")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl SourceArgs {
    /// Reads the whole configuration.
    pub(crate) fn load(&self) -> anyhow::Result<Loaded> {
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        Ok(load(&Sources { file: self.file()?, environment, flags: self.set.clone() })?)
    }

    fn file(&self) -> anyhow::Result<Option<(PathBuf, String)>> {
        let named = || std::env::var_os("MUSTER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = match self.config.clone().or_else(named) {
            Some(path) => path,
            None if Path::new(DEFAULT_FILE).exists() => PathBuf::from(DEFAULT_FILE),
            None => return Ok(None),
        };
        let content = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
        Ok(Some((path, content)))
    }
}
