//! Everything an operator can set, with its defaults. Read from defaults, then a TOML file, then the environment, then flags.
//!
//! A new setting is a field here, its default in [`Config::defaults`], and a row of [`settings::SETTINGS`]; files, variables,
//! messages and `docs/configuration.md` follow from that row.

mod check;
mod form;
mod load;
mod reference;
pub mod settings;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;

pub use check::{address_of_url, is_loopback_url};
pub use load::{Effective, Fault, Faults, Loaded, Origin, Sources, load};
pub use reference::reference;

/// The whole configuration of a process.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where keys, uploads and the development mail outbox are kept.
    pub data_dir: PathBuf,
    /// `postgres://user:password@host:port/name`.
    pub database_url: SecretString,
    /// Connections for the API, and as many and four more for the worker.
    pub database_connections: u32,
    /// `redis://host:port/0`; without it one process runs API and worker.
    pub redis_url: Option<SecretString>,
    /// Prefix of every key in Redis, so that installations can share a server.
    pub redis_prefix: String,
    /// HTTP.
    pub http: Http,
    /// Links in mails that a customer's own frontend serves; each contains `{token}`.
    pub links: Links,
    /// Outgoing mail.
    pub mail: Mail,
    /// Logs.
    pub log: Log,
    /// Metrics.
    pub metrics: Metrics,
    /// Sign-up.
    pub sign_up: SignUp,
    /// What accounts pay with.
    pub billing: crate::billing::Defaults,
    /// Refusals by quantity.
    pub limits: Limits,
    /// How long what happened is kept.
    pub retention: Retention,
    /// The worker.
    pub worker: Worker,
    /// Cost of password hashes.
    pub password: Password,
    /// Secret of the installation, 32 bytes in hexadecimal; otherwise read from, or created in, `data_dir/keys`.
    pub installation_key: Option<SecretString>,
}

/// HTTP.
#[derive(Clone, Debug)]
pub struct Http {
    /// Address the API listens on.
    pub listen: SocketAddr,
    /// How people reach the API; links in mails begin with it. Without a trailing slash.
    pub public_url: String,
    /// Origins of other sites whose pages may call the API, like `https://app.example.com`.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed, as addresses.
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// Seconds a stopping process goes on as before, but is not ready, so that balancers notice.
    pub drain_seconds: u64,
    /// Seconds a stopping process goes on serving the requests it has, after that.
    pub shutdown_seconds: u64,
    /// Connections a process has at most; further ones wait until one ends.
    pub connections: usize,
    /// Seconds after which a connection that carries nothing is closed.
    pub idle_seconds: u64,
}

/// Links in mails that a customer's own frontend serves instead of the hosted pages; each contains `{token}`.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// Accept or decline an invitation.
    pub invitation: Option<String>,
    /// Confirm a sign-up.
    pub sign_up: Option<String>,
    /// Choose a new password.
    pub password_reset: Option<String>,
    /// Confirm a new login e-mail.
    pub login_email_confirm: Option<String>,
    /// Agree to a new login e-mail as the old one.
    pub login_email_approve: Option<String>,
    /// Keep the old login e-mail, or take it back.
    pub login_email_revert: Option<String>,
    /// Where people sign in; without `{token}`.
    pub sign_in: Option<String>,
}

/// Outgoing mail.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Which transport takes the mail.
    pub transport: MailTransport,
    /// Sender, like `Muster <muster@example.com>`.
    pub from: String,
    /// Folder whose templates replace the built-in ones of the same name.
    pub templates_dir: Option<PathBuf>,
    /// Free-mail domains whose addresses are accepted where free mail is refused.
    pub allowed_personal_domains: Vec<String>,
    /// The server, for [`MailTransport::Smtp`].
    pub smtp: Smtp,
}

/// Where mail goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTransport {
    /// To a mail server.
    Smtp,
    /// To files in `data_dir/mail`, which `/dev/mail` shows; only while the public URL is loopback.
    Outbox,
}

/// The mail server.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: SmtpTls,
    /// PEM file with certificates of a private authority that the server's certificate may be signed by, besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// User name, with `password`.
    pub username: Option<String>,
    /// Password, with `username`.
    pub password: Option<SecretString>,
    /// Connections kept open.
    pub connections: u32,
}

/// How the connection to the mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// Not at all: only for a server on the same host.
    None,
    /// `STARTTLS`, required.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// Shape of a line.
    pub format: LogFormat,
    /// A `tracing` filter, like `info,sqlx=warn`.
    pub filter: String,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metrics {
    /// Where a process answers `/metrics`, and nothing else; nowhere if not set.
    pub listen: Option<SocketAddr>,
}

/// Sign-up.
#[derive(Clone, Debug)]
pub struct SignUp {
    /// Seats a new account is granted.
    pub base_seats: i32,
    /// Whether free-mail addresses may not sign up.
    pub refuse_personal_domains: bool,
}

/// Refusals by quantity.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Whether sign-ins, sign-ups, resets, tries of links, mails, new accounts and uploads are limited.
    pub rate_limits: bool,
    /// Bytes of a request body.
    pub request_bytes: usize,
    /// Bytes of a GraphQL document.
    pub query_bytes: usize,
    /// Depth of a GraphQL document.
    pub query_depth: usize,
    /// Selections of a GraphQL document with its fragments expanded.
    pub query_selections: usize,
    /// Aliases of a GraphQL document.
    pub query_aliases: usize,
    /// Seconds a request may take.
    pub request_seconds: u64,
    /// Sockets a user may have open with a process.
    pub sockets: usize,
    /// Operations that may run at once on a socket.
    pub socket_operations: usize,
    /// Bytes of an upload.
    pub upload_bytes: u64,
    /// Seconds an upload may take.
    pub upload_seconds: u64,
    /// Uploads that may arrive at once in a process.
    pub uploads_at_once: usize,
    /// Rows of an import.
    pub import_rows: u32,
    /// Bytes of a field of an import.
    pub import_field_bytes: usize,
    /// Members one mutation may name.
    pub bulk: usize,
    /// Roles of its own that an account may have, archived ones aside.
    pub custom_roles: usize,
    /// Units that an account may have, archived ones aside.
    pub units: usize,
    /// Groups of an account that are not archived.
    pub groups: usize,
    /// Requests that are worked on at once, and a quarter as many that hash passwords; twice as many wait, further ones are refused.
    pub concurrent_requests: usize,
}

/// How long what happened is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Days an event stays in the feed of its account.
    pub events_days: u32,
}

/// The worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Where `muster worker` answers `/livez` and `/readyz`; nowhere if not set.
    pub listen: Option<SocketAddr>,
    /// Jobs of a lane that run at once.
    pub concurrency: usize,
    /// Ids of a lane that may be outstanding in the queue.
    pub outstanding: usize,
}

/// Cost of a password hash (argon2id).
#[derive(Clone, Copy, Debug)]
pub struct Password {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
    /// Hashes computed at once.
    pub concurrency: usize,
}

impl Config {
    /// The configuration in which nothing is set but the database.
    pub fn defaults(database_url: impl Into<SecretString>) -> Self {
        Self {
            data_dir: PathBuf::from("muster-data"),
            database_url: database_url.into(),
            database_connections: 10,
            redis_url: None,
            redis_prefix: "muster".to_owned(),
            http: Http {
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                public_url: "http://127.0.0.1:8080".to_owned(),
                allowed_origins: Vec::new(),
                trusted_proxies: Vec::new(),
                drain_seconds: 5,
                shutdown_seconds: 20,
                connections: 16_384,
                idle_seconds: 75,
            },
            links: Links::default(),
            mail: Mail {
                transport: MailTransport::Smtp,
                from: "Muster <muster@localhost>".to_owned(),
                templates_dir: None,
                allowed_personal_domains: Vec::new(),
                smtp: Smtp::default(),
            },
            log: Log { format: LogFormat::Text, filter: "info".to_owned() },
            metrics: Metrics::default(),
            sign_up: SignUp { base_seats: 3, refuse_personal_domains: false },
            billing: crate::billing::Defaults::default(),
            limits: Limits::default(),
            retention: Retention { events_days: 400 },
            worker: Worker { listen: None, concurrency: 16, outstanding: 2000 },
            password: Password::default(),
            installation_key: None,
        }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 25,
            tls: SmtpTls::None,
            ca_file: None,
            username: None,
            password: None,
            connections: 4,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rate_limits: true,
            request_bytes: 100_000,
            query_bytes: 16_384,
            query_depth: 12,
            query_selections: 1000,
            query_aliases: 15,
            request_seconds: 5,
            sockets: 10,
            socket_operations: 20,
            upload_bytes: 25_000_000,
            upload_seconds: 600,
            uploads_at_once: 32,
            import_rows: 100_000,
            import_field_bytes: 4096,
            bulk: 500,
            custom_roles: 200,
            units: 1_000,
            groups: 1000,
            concurrent_requests: 24,
        }
    }
}

impl Default for Password {
    /// The recommendation of OWASP's password storage cheat sheet for argon2id: 19 MiB, 2 passes, 1 lane.
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            passes: 2,
            concurrency: std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
        }
    }
}
