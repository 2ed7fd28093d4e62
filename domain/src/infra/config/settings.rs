//! The table of settings: one row each, from which loading, messages and the reference follow.

use super::Config;
use super::check;
use super::form::Form::{self, Flag, List, Number, Text, Word};
use super::form::Value;

/// One setting.
pub struct Setting {
    /// Where it stands in the file, with dots between the sections, like `http.listen`.
    pub key: &'static str,
    /// The wanted form.
    pub form: Form,
    /// A value in that form.
    pub example: &'static str,
    /// One sentence for the reference.
    pub doc: &'static str,
    /// Whether the value must never be shown; such a setting is not taken from flags, which every user of the host can read.
    pub secret: bool,
    /// A variable without the prefix that sets it as well, if the one with the prefix does not.
    pub plain_variable: Option<&'static str>,
    /// What the reference says instead of the default's value.
    pub default_note: Option<&'static str>,
    pub(super) field: fn(&mut Config) -> &mut dyn Value,
}

impl Setting {
    /// The environment variable: `http.listen` is `MUSTER_HTTP_LISTEN`.
    pub fn variable(&self) -> String {
        format!("MUSTER_{}", self.key.to_ascii_uppercase().replace('.', "_"))
    }

    /// The value a configuration has; `None` if not set. In the clear.
    pub(super) fn text(&self, config: &mut Config) -> Option<String> {
        (self.field)(config).text()
    }

    const fn new(
        key: &'static str,
        form: Form,
        example: &'static str,
        field: fn(&mut Config) -> &mut dyn Value,
        doc: &'static str,
    ) -> Self {
        Self { key, form, example, doc, secret: false, plain_variable: None, default_note: None, field }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    const fn also_from(self, variable: &'static str) -> Self {
        Self { plain_variable: Some(variable), ..self }
    }

    const fn by_default(self, note: &'static str) -> Self {
        Self { default_note: Some(note), ..self }
    }
}

/// Variables that begin with `MUSTER_` and are no settings: where the file is, and what clients, scripts and tests use.
pub const OTHER_VARIABLES: &[&str] = &[
    "MUSTER_CONFIG",
    "MUSTER_URL",
    "MUSTER_TOKEN",
    "MUSTER_MAIL_URL",
    "MUSTER_OWNER_EMAIL",
    "MUSTER_OWNER_PASSWORD",
    "MUSTER_ACCOUNT_ID",
    "MUSTER_BIN",
];

/// The beginning of variables that only tests read.
pub const TEST_VARIABLES: &str = "MUSTER_TEST_";

const ADDRESS: Form = Text("an IP address and a port", |text| text.parse::<std::net::SocketAddr>().is_ok());
const PATH: Form = Text("a path", |text| !text.is_empty());
const LINK: Form =
    Text("an http or https URL that contains {token}", |text| check::is_url(text) && text.contains("{token}"));

/// Every setting, in the order of the reference.
pub static SETTINGS: &[Setting] = &[
    Setting::new("database_url", Text("a PostgreSQL URL", check::is_database_url), "postgres://muster:password@127.0.0.1:5432/muster",
        |c| &mut c.database_url, "The PostgreSQL database (15 or newer).").secret().also_from("DATABASE_URL").by_default("none: must be set"),
    Setting::new("database_connections", Number(2, 500), "10", |c| &mut c.database_connections,
        "Connections of a process for the API, and as many and four more for the worker. An API has five more: four for the accounts that are \
         followed live, one over which it asks whether the database answers; `metrics.listen` adds one."),
    Setting::new("redis_url", Text("a Redis URL", check::is_redis_url), "redis://127.0.0.1:6379/0", |c| &mut c.redis_url,
        "The Redis server through which processes wake each other and hand out jobs. Without it, one `muster serve` runs everything.")
        .secret().also_from("REDIS_URL"),
    Setting::new("redis_prefix", Text("1 to 64 letters, digits, `-`, `_` or `:`", check::is_redis_prefix), "muster", |c| &mut c.redis_prefix,
        "Beginning of every key in Redis, so that installations can share a server."),
    Setting::new("data_dir", PATH, "/var/lib/muster", |c| &mut c.data_dir,
        "Folder of keys, uploads and the development mail outbox."),
    Setting::new("installation_key", Text("64 hexadecimal digits", check::is_key), "(output of `openssl rand -hex 32`)",
        |c| &mut c.installation_key,
        "The secret from which links in mails are derived. Set it where processes do not share `data_dir`; otherwise it is kept in `data_dir/keys`.")
        .secret().by_default("created in `data_dir/keys` on first start"),
    Setting::new("http.listen", ADDRESS, "0.0.0.0:8080",
        |c| &mut c.http.listen, "Address the API listens on."),
    Setting::new("http.public_url", Text("an http or https URL without a trailing slash", check::is_base_url), "https://muster.example.com",
        |c| &mut c.http.public_url, "How people reach the API; links in mails begin with it."),
    Setting::new("http.allowed_origins", List("origins (scheme, host and port only)", check::is_origin), "https://app.example.com",
        |c| &mut c.http.allowed_origins, "Other sites whose pages may call the API."),
    Setting::new("http.trusted_proxies", List("IP addresses", |text| text.parse::<std::net::IpAddr>().is_ok()), "10.0.0.1",
        |c| &mut c.http.trusted_proxies, "Proxies whose `X-Forwarded-For` is believed."),
    Setting::new("http.drain_seconds", Number(0, 600), "5", |c| &mut c.http.drain_seconds,
        "Seconds a stopping process answers as before, but for `/readyz`, which says that it is not ready: what balancers need to notice."),
    Setting::new("http.shutdown_seconds", Number(0, 600), "20", |c| &mut c.http.shutdown_seconds,
        "Seconds a stopping process goes on, after that, with the requests and jobs it has."),
    Setting::new("http.connections", Number(1, 1_000_000), "16384", |c| &mut c.http.connections,
        "Connections a process has open at once, sockets among them. Further ones wait until one ends. No more than the open files the system allows it."),
    Setting::new("http.idle_seconds", Number(5, 3_600), "75", |c| &mut c.http.idle_seconds,
        "Seconds after which a connection that carries nothing is closed; also how long the head of a request may take. \
         Longer than a proxy in front keeps its connections, so that it never sends a request into one that is being closed."),
    Setting::new("links.invitation", LINK, "https://app.example.com/join?token={token}", |c| &mut c.links.invitation,
        "Your own page on which an invitation is accepted or declined.").by_default("the hosted page"),
    Setting::new("links.sign_up", LINK, "https://app.example.com/confirm?token={token}", |c| &mut c.links.sign_up,
        "Your own page on which a sign-up is confirmed.").by_default("the hosted page"),
    Setting::new("links.password_reset", LINK, "https://app.example.com/reset?token={token}", |c| &mut c.links.password_reset,
        "Your own page on which a new password is chosen.").by_default("the hosted page"),
    Setting::new("links.login_email_confirm", LINK, "https://app.example.com/new-address?token={token}", |c| &mut c.links.login_email_confirm,
        "Your own page on which a new login e-mail is confirmed.").by_default("the hosted page"),
    Setting::new("links.login_email_approve", LINK, "https://app.example.com/agree?token={token}", |c| &mut c.links.login_email_approve,
        "Your own page on which the old login e-mail agrees to a new one.").by_default("the hosted page"),
    Setting::new("links.login_email_revert", LINK, "https://app.example.com/keep-address?token={token}", |c| &mut c.links.login_email_revert,
        "Your own page on which the old login e-mail is kept or taken back.").by_default("the hosted page"),
    Setting::new("links.sign_in", Text("an http or https URL without {token}", |text| check::is_url(text) && !text.contains("{token}")),
        "https://app.example.com/sign-in", |c| &mut c.links.sign_in, "Your own page on which people sign in."),
    Setting::new("mail.transport", Word(&["smtp", "outbox"]), "smtp", |c| &mut c.mail.transport,
        "Where mail goes: to a mail server, or to files that `/dev/mail` shows (development only)."),
    Setting::new("mail.from", Text("a mailbox", check::is_mailbox), "Muster <muster@example.com>", |c| &mut c.mail.from, "Sender of every mail."),
    Setting::new("mail.templates_dir", PATH, "/etc/muster/templates", |c| &mut c.mail.templates_dir,
        "Folder whose templates replace the built-in ones of the same name."),
    Setting::new("mail.allowed_personal_domains", List("domains", check::is_domain), "gmail.com", |c| &mut c.mail.allowed_personal_domains,
        "Free-mail domains whose addresses are accepted all the same: in accounts that refuse free mail, and at sign-up."),
    Setting::new("mail.smtp.host", Text("a host name or IP address", check::is_host), "smtp.example.com", |c| &mut c.mail.smtp.host, "The mail server."),
    Setting::new("mail.smtp.port", Number(1, 65535), "587", |c| &mut c.mail.smtp.port, "Its port."),
    Setting::new("mail.smtp.tls", Word(&["none", "starttls", "implicit"]), "starttls", |c| &mut c.mail.smtp.tls,
        "How the connection is encrypted: not at all (a server on the same host), from STARTTLS on (required), or from the first byte."),
    Setting::new("mail.smtp.ca_file", PATH, "/etc/muster/mail-ca.pem", |c| &mut c.mail.smtp.ca_file,
        "PEM file with certificates of a private authority that the server's certificate may be signed by, besides the public ones."),
    Setting::new("mail.smtp.username", Text("a user name", |text| !text.is_empty()), "muster", |c| &mut c.mail.smtp.username,
        "User name, if the server wants one."),
    Setting::new("mail.smtp.password", Text("a password", |text| !text.is_empty()), "(the mail server's password)", |c| &mut c.mail.smtp.password,
        "Password of that user.").secret(),
    Setting::new("mail.smtp.connections", Number(1, 100), "4", |c| &mut c.mail.smtp.connections, "Connections kept open to the mail server."),
    Setting::new("log.format", Word(&["text", "json"]), "json", |c| &mut c.log.format, "Shape of a line of the log, which goes to standard error."),
    Setting::new("log.filter", Text("a filter of levels", check::is_log_filter), "info,sqlx=warn", |c| &mut c.log.filter,
        "What is logged: a level (error, warn, info, debug, trace), or levels per module."),
    Setting::new("metrics.listen", ADDRESS, "127.0.0.1:9464", |c| &mut c.metrics.listen,
        "Address on which a process answers `/metrics` for Prometheus, and nothing else. Anybody who reaches it can read it; each process of a host needs one of its own (port 0: any, which the log names)."),
    Setting::new("sign_up.base_seats", Number(1, 1_000_000), "3", |c| &mut c.sign_up.base_seats, "Seats a new account is granted."),
    Setting::new("sign_up.refuse_personal_domains", Flag, "true", |c| &mut c.sign_up.refuse_personal_domains,
        "Whether free-mail addresses may not sign up."),
    Setting::new("billing.currency", Text("a currency code of three capital letters", check::is_currency), "EUR", |c| &mut c.billing.currency,
        "What a new account pays with (ISO 4217)."),
    Setting::new("billing.interval", Word(&["month", "year"]), "month", |c| &mut c.billing.interval, "How often a new account pays."),
    Setting::new("billing.gateway", Word(&["account", "sandbox"]), "account", |c| &mut c.billing.gateway,
        "How the charges of a new account are collected: on account, which means that somebody records payments, or by a sandbox that plays a payment provider."),
    Setting::new("billing.tax_rate", Text("a percentage from 0 to 100 with at most four decimal places", check::is_tax_rate), "19", |c| &mut c.billing.tax_rate,
        "Tax on everything that is charged, in percent of the net amount, where the operator has set none for the account."),
    Setting::new("billing.payment_days", Number(1, 365), "30", |c| &mut c.billing.payment_days, "Days until a statement on account is past due."),
    Setting::new("billing.gateway_seconds", Number(1, 15), "15", |c| &mut c.billing.gateway_seconds,
        "Seconds that a payment gateway has for an answer. What it did is looked up later, if it takes longer."),
    Setting::new("billing.retry_days", List("numbers of days from 1 to 365", check::is_day_count), "3,7,14", |c| &mut c.billing.retry_days,
        "Days after a statement was issued on which it is collected again, if the payment was declined. After the last it is past due."),
    Setting::new("limits.rate_limits", Flag, "true", |c| &mut c.limits.rate_limits,
        "Whether it is limited how often people sign in, sign up, reset a password, try links, are sent mail, create accounts and upload files. \
         Off for load tests only."),
    Setting::new("limits.request_bytes", Number(1_000, 100_000_000), "100000", |c| &mut c.limits.request_bytes, "Bytes of a request's body."),
    Setting::new("limits.query_bytes", Number(256, 10_000_000), "16384", |c| &mut c.limits.query_bytes, "Bytes of a GraphQL document."),
    Setting::new("limits.query_depth", Number(1, 100), "12", |c| &mut c.limits.query_depth, "Depth of a GraphQL document."),
    Setting::new("limits.query_selections", Number(10, 1_000_000), "1000", |c| &mut c.limits.query_selections,
        "Selections of a GraphQL document with its fragments expanded."),
    Setting::new("limits.query_aliases", Number(0, 100_000), "15", |c| &mut c.limits.query_aliases, "Aliases of a GraphQL document."),
    Setting::new("limits.request_seconds", Number(1, 300), "5", |c| &mut c.limits.request_seconds, "Seconds a request may take."),
    Setting::new("limits.sockets", Number(1, 10_000), "10", |c| &mut c.limits.sockets, "Sockets a user may have open with each process: over all processes that many times as many."),
    Setting::new("limits.socket_operations", Number(1, 10_000), "20", |c| &mut c.limits.socket_operations,
        "Operations that may run at once on a socket."),
    Setting::new("limits.upload_bytes", Number(1_000, 10_000_000_000), "25000000", |c| &mut c.limits.upload_bytes, "Bytes of an uploaded file."),
    Setting::new("limits.upload_seconds", Number(1, 86_400), "600", |c| &mut c.limits.upload_seconds,
        "Seconds a file may take to arrive. A sender who pauses for half a minute is cut off before that."),
    Setting::new("limits.uploads_at_once", Number(1, 100_000), "32", |c| &mut c.limits.uploads_at_once,
        "Files that may arrive at once in a process, half of them for one account; whoever comes on top of that is told to come again. Each takes up to 3 MB of memory, and `limits.upload_bytes` of disk."),
    Setting::new("limits.import_rows", Number(1, 10_000_000), "100000", |c| &mut c.limits.import_rows, "Rows of an import."),
    Setting::new("limits.import_field_bytes", Number(64, 1_000_000), "4096", |c| &mut c.limits.import_field_bytes, "Bytes of a field of an import."),
    Setting::new("limits.bulk", Number(1, 10_000), "500", |c| &mut c.limits.bulk, "Members one mutation may name."),
    Setting::new("limits.custom_roles", Number(1, 10_000), "200", |c| &mut c.limits.custom_roles, "Roles of its own that an account may have, archived ones aside."),
    Setting::new("limits.units", Number(1, 100_000), "1000", |c| &mut c.limits.units, "Units that an account may have, archived ones aside."),
    Setting::new("limits.groups", Number(1, 100_000), "1000", |c| &mut c.limits.groups, "Groups of an account that are not archived."),
    Setting::new("limits.concurrent_requests", Number(1, 100_000), "24", |c| &mut c.limits.concurrent_requests,
        "GraphQL requests that a process works on at once, and a quarter as many that hash passwords (sign-in, sign-up, reset, acceptance). \
         Twice as many wait for their turn, a second at most; further ones are refused with SERVICE_UNAVAILABLE and Retry-After. \
         A user, or a network without a valid session, gets half of the places at most."),
    Setting::new("retention.events_days", Number(1, 36_500), "400", |c| &mut c.retention.events_days,
        "Days an event stays in the feed of its account. Older ones are deleted for good once a day."),
    Setting::new("worker.listen", ADDRESS, "0.0.0.0:8081", |c| &mut c.worker.listen,
        "Address on which `muster worker` answers `/livez` and `/readyz`. `muster serve` and `muster api` answer them at `http.listen`."),
    Setting::new("worker.concurrency", Number(1, 1_000), "16", |c| &mut c.worker.concurrency, "Jobs of a lane that run at once in a process."),
    Setting::new("worker.outstanding", Number(1, 5_000), "2000", |c| &mut c.worker.outstanding,
        "Jobs of a lane that may be handed to the queue before they are started."),
    Setting::new("password.memory_kib", Number(8, 4_194_304), "19456", |c| &mut c.password.memory_kib, "Memory of a password hash (argon2id), in KiB."),
    Setting::new("password.passes", Number(1, 100), "2", |c| &mut c.password.passes, "Passes of a password hash."),
    Setting::new("password.concurrency", Number(1, 1_024), "2", |c| &mut c.password.concurrency, "Password hashes computed at once.")
        .by_default("half the number of cores"),
];
