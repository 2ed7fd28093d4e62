//! What makes a value valid, alone and together with others.

use std::net::IpAddr;
use std::str::FromStr as _;

use email_address::EmailAddress;
use redis::IntoConnectionInfo as _;
use sqlx::postgres::PgConnectOptions;
use tracing_subscriber::EnvFilter;

use super::load::Fault;
use super::{Config, MailTransport};
use crate::billing::TaxRate;
use crate::infra::email_address::normalise_domain;
use crate::infra::money::Currency;

pub(super) fn is_database_url(text: &str) -> bool {
    (text.starts_with("postgres://") || text.starts_with("postgresql://")) && PgConnectOptions::from_str(text).is_ok()
}

pub(super) fn is_redis_url(text: &str) -> bool {
    text.into_connection_info().is_ok()
}

pub(super) fn is_redis_prefix(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_:".contains(c))
}

pub(super) fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn is_log_filter(text: &str) -> bool {
    !text.is_empty() && EnvFilter::try_new(text).is_ok()
}

pub(super) fn is_currency(text: &str) -> bool {
    Currency::parse(text).is_ok()
}

pub(super) fn is_tax_rate(text: &str) -> bool {
    text.parse::<TaxRate>().is_ok()
}

pub(super) fn is_day_count(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|days| (1..=365).contains(&days))
}

pub(super) fn is_host(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.len() <= 253 && text.chars().all(is_name))
}

/// `user@host`, or `Some Name <user@host>`; one line either way.
pub(super) fn is_mailbox(text: &str) -> bool {
    let address = match text.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or_default(),
        None => text,
    };
    !text.contains(char::is_control) && EmailAddress::is_valid(address)
}

pub(super) fn is_url(text: &str) -> bool {
    authority(text).is_some()
}

/// Host and port that an http or https URL leads to, as `host:port`; `None` for anything else.
pub fn address_of_url(url: &str) -> Option<String> {
    let (host, port) = authority(url)?;
    let usual = if url.starts_with("https://") { 443 } else { 80 };
    Some(format!("{host}:{}", port.unwrap_or(usual)))
}

pub(super) fn is_base_url(text: &str) -> bool {
    is_url(text) && !text.ends_with('/') && !text.contains(['?', '#'])
}

pub(super) fn is_domain(text: &str) -> bool {
    normalise_domain(text).is_ok()
}

pub(super) fn is_origin(text: &str) -> bool {
    is_url(text) && text.matches('/').count() == 2 && !text.contains(['?', '#'])
}

/// Whether only this host can follow a URL that begins so.
pub fn is_loopback_url(url: &str) -> bool {
    let Some((host, _)) = authority(url) else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Host and port of an http or https URL; `None` also if it carries a user, spaces or control characters.
fn authority(url: &str) -> Option<(&str, Option<u16>)> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match authority[after_brackets..].find(':') {
        None => (authority, None),
        Some(colon) => {
            let (host, port) = authority.split_at(after_brackets + colon);
            (host, Some(port[1..].parse().ok()?))
        }
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = bare
        .map_or_else(|| is_host(host) && !host.contains(':'), |address| address.parse::<std::net::Ipv6Addr>().is_ok());
    is_host.then_some((host, port))
}

/// The faults of settings that do not fit together.
pub(super) fn together(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let smtp = &config.mail.smtp;
    if config.mail.transport == MailTransport::Outbox && !is_loopback_url(&config.http.public_url) {
        faults.push(Fault::conflict(
            "mail.transport",
            "is outbox, whose mails anybody who reaches the API can read, and http.public_url is not a loopback address",
        ));
    }
    if config.mail.transport == MailTransport::Outbox && !config.http.listen.ip().is_loopback() {
        faults.push(Fault::conflict(
            "http.listen",
            "is not a loopback address, and mail.transport is outbox, whose mails whoever reaches the API could read",
        ));
    }
    if let Some(metrics) = config.metrics.listen.filter(|address| address.port() != 0) {
        let others = [("http.listen", Some(config.http.listen)), ("worker.listen", config.worker.listen)];
        if let Some((other, _)) = others.into_iter().find(|(_, address)| *address == Some(metrics)) {
            let message =
                if other == "http.listen" { "is the same as http.listen" } else { "is the same as worker.listen" };
            faults.push(Fault::conflict("metrics.listen", message));
        }
    }
    if smtp.password.is_some() && smtp.username.is_none() {
        faults.push(Fault::conflict("mail.smtp.username", "is missing, and mail.smtp.password is set"));
    }
    if smtp.username.is_some() && smtp.password.is_none() {
        faults.push(Fault::conflict("mail.smtp.password", "is missing, and mail.smtp.username is set"));
    }
    faults
}
