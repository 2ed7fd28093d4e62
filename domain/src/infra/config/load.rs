//! Defaults, then the file, then the environment, then flags; every fault is collected before any is reported.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::settings::{OTHER_VARIABLES, SETTINGS, Setting, TEST_VARIABLES};
use super::{Config, check};

/// What a configuration is read from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file and its content.
    pub file: Option<(PathBuf, String)>,
    /// The environment; variables that are none of ours are ignored.
    pub environment: Vec<(String, String)>,
    /// Key and value, like `http.listen` and `0.0.0.0:80`.
    pub flags: Vec<(String, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file.
    File(PathBuf),
    /// An environment variable, by name.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// A valid configuration, and where each value came from.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

/// One setting as it is in effect.
#[derive(Debug)]
pub struct Effective {
    /// The setting's key.
    pub key: &'static str,
    /// Its value, `***` for a secret, `None` if not set.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

impl Loaded {
    /// Every setting in effect, in the order of the reference.
    pub fn effective(&self) -> Vec<Effective> {
        let mut config = self.config.clone();
        let mask = |setting: &Setting, text: String| if setting.secret { "***".to_owned() } else { text };
        SETTINGS
            .iter()
            .map(|setting| Effective {
                key: setting.key,
                value: setting.text(&mut config).map(|text| mask(setting, text)),
                origin: self.origins.get(setting.key).cloned().unwrap_or(Origin::Default),
            })
            .collect()
    }
}

/// One thing that is wrong with a configuration, as a sentence that names the setting, where it was set, the wanted form and an
/// example; without any secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fault {
    fn malformed(setting: &Setting, origin: &Origin, text: &str) -> Self {
        let given = if setting.secret {
            "has another form (not shown: it is secret)".to_owned()
        } else {
            format!("is {}", shortened(text))
        };
        Self(format!("{} {given}; {}", name(setting, origin), wanted(setting)))
    }

    pub(super) fn conflict(key: &'static str, problem: &str) -> Self {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).expect("conflicts name rows of the table");
        Self(format!("{key} ({}) {problem}; {}", setting.variable(), wanted(setting)))
    }

    fn missing(setting: &Setting) -> Self {
        let variables = setting
            .plain_variable
            .map_or_else(|| setting.variable(), |plain| format!("{plain} or {}", setting.variable()));
        Self(format!("{} ({variables}) is not set; {}", setting.key, wanted(setting)))
    }

    fn unknown(what: &str, name: &str) -> Self {
        Self(format!("{what} {} is unknown; `muster config reference` lists all settings", shortened(name)))
    }
}

fn name(setting: &Setting, origin: &Origin) -> String {
    match origin {
        Origin::Default => setting.key.to_owned(),
        Origin::File(path) => format!("{} in {}", setting.key, path.display()),
        Origin::Environment(variable) => format!("environment variable {variable}"),
        Origin::Flag => format!("--set {}", setting.key),
    }
}

fn wanted(setting: &Setting) -> String {
    format!("wanted: {}, for example {}", setting.form.describe(), setting.example)
}

/// A text from outside, quoted, on one line and of bounded length.
fn shortened(text: &str) -> String {
    let mut start: String = text.chars().take(60).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the configuration is wrong: {only}"),
            all => {
                write!(f, "{} faults in the configuration:", all.len())?;
                all.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

/// Reads a configuration.
///
/// # Errors
/// All faults of all sources, together.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let mut loading = Loading { config: Config::defaults(""), origins: BTreeMap::new(), faults: Vec::new() };
    if let Some((path, content)) = &sources.file {
        loading.read_file(path, content);
    }
    loading.read_environment(&sources.environment);
    loading.read_flags(&sources.flags);
    loading.finish()
}

struct Loading {
    config: Config,
    origins: BTreeMap<&'static str, Origin>,
    faults: Vec<Fault>,
}

impl Loading {
    fn read_file(&mut self, path: &std::path::Path, content: &str) {
        let origin = Origin::File(path.to_owned());
        match content.parse::<toml::Table>() {
            Ok(table) => self.read_table(&origin, "", &table),
            Err(error) => {
                // Not the error's own display: it quotes the line, which may hold a secret.
                let start = error.span().map_or(0, |span| span.start);
                let line = content.get(..start).unwrap_or(content).matches('\n').count() + 1;
                self.faults.push(Fault(format!("{} is not TOML: line {line}: {}", path.display(), error.message())));
            }
        }
    }

    fn read_table(&mut self, origin: &Origin, prefix: &str, table: &toml::Table) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            let section = format!("{key}.");
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
                match text_of(value) {
                    Some(text) => self.set(setting, origin.clone(), &text),
                    None => self.faults.push(Fault::malformed(setting, origin, "another type")),
                }
            } else if let (toml::Value::Table(inner), true) =
                (value, SETTINGS.iter().any(|setting| setting.key.starts_with(&section)))
            {
                self.read_table(origin, &section, inner);
            } else {
                self.faults.push(Fault::unknown(&format!("the key in {origin}"), &key));
            }
        }
    }

    /// An empty variable counts as not set: that is how a container's environment leaves something out.
    fn read_environment(&mut self, environment: &[(String, String)]) {
        let value_of = |variable: &str| {
            environment.iter().find(|(name, value)| name == variable && !value.is_empty()).map(|(_, value)| value)
        };
        for setting in SETTINGS {
            let variables = [Some(setting.variable()), setting.plain_variable.map(str::to_owned)];
            let found =
                variables.into_iter().flatten().find_map(|variable| value_of(&variable).map(|value| (variable, value)));
            if let Some((variable, value)) = found {
                self.set(setting, Origin::Environment(variable), value);
            }
        }
        let known = |name: &str| {
            OTHER_VARIABLES.contains(&name)
                || name.starts_with(TEST_VARIABLES)
                || SETTINGS.iter().any(|setting| setting.variable() == name)
        };
        for (name, _) in environment.iter().filter(|(name, _)| name.starts_with("MUSTER_") && !known(name)) {
            self.faults.push(Fault::unknown("the environment variable", name));
        }
    }

    fn read_flags(&mut self, flags: &[(String, String)]) {
        for (key, value) in flags {
            match SETTINGS.iter().find(|setting| setting.key == key) {
                None => self.faults.push(Fault::unknown("the setting", key)),
                Some(setting) if setting.secret => self.faults.push(Fault(format!(
                    "--set {key} is refused: every user of this host can read a command line; set {} instead",
                    setting.plain_variable.map_or_else(|| setting.variable(), str::to_owned)
                ))),
                Some(setting) => self.set(setting, Origin::Flag, value),
            }
        }
    }

    fn set(&mut self, setting: &'static Setting, origin: Origin, text: &str) {
        let taken = setting.form.accepts(text).then(|| (setting.field)(&mut self.config).set(text)).flatten();
        if taken.is_none() {
            self.faults.push(Fault::malformed(setting, &origin, text));
        }
        self.origins.insert(setting.key, origin);
    }

    fn finish(mut self) -> Result<Loaded, Faults> {
        let database = SETTINGS.iter().find(|setting| setting.key == "database_url").expect("a row of the table");
        if !self.origins.contains_key(database.key) {
            self.faults.push(Fault::missing(database));
        }
        self.faults.extend(check::together(&self.config));
        if self.faults.is_empty() {
            Ok(Loaded { config: self.config, origins: self.origins })
        } else {
            Err(Faults(self.faults))
        }
    }
}

/// A value of the file as the text that the environment would have; `None` for what no setting is.
fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
