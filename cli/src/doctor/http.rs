//! Where the API listens, and how people reach it.

use domain::infra::config::{Config, is_loopback_url};

use super::Finding;

pub(super) fn inspect(config: &Config) -> Vec<Finding> {
    let http = &config.http;
    let is_local = is_loopback_url(&http.public_url);
    let mut findings = vec![Finding::ok(format!("listens on {}, reached as {}", http.listen, http.public_url))];
    if is_local && !http.listen.ip().is_loopback() {
        findings.push(Finding::warning(
            "the API listens for other hosts, and links in mails lead to this host only",
            "set http.public_url (MUSTER_HTTP_PUBLIC_URL) to what people type",
        ));
    }
    if !is_local && !http.public_url.starts_with("https://") {
        findings.push(Finding::warning(
            "passwords and tokens cross the network unencrypted",
            "put a proxy with TLS in front and set http.public_url to its https URL",
        ));
    }
    if http.public_url.starts_with("https://") && http.trusted_proxies.is_empty() {
        findings.push(Finding::warning(
            "https needs a proxy in front, and no proxy is trusted: every caller counts as the proxy in rate limits and in the log",
            "set http.trusted_proxies (MUSTER_HTTP_TRUSTED_PROXIES) to the proxy's address",
        ));
    }
    findings
}
