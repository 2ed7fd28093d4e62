use std::collections::BTreeSet;
use std::path::PathBuf;

use secrecy::ExposeSecret as _;

use super::settings::SETTINGS;
use super::*;

const DATABASE: &str = "postgres://muster:hunter2@127.0.0.1/muster";

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn file(content: &str) -> (PathBuf, String) {
    (PathBuf::from("muster.toml"), content.to_owned())
}

fn faults(sources: &Sources) -> Vec<String> {
    load(sources).expect_err("the configuration is wrong").0.iter().map(ToString::to_string).collect()
}

#[test]
fn later_sources_win_and_are_named() {
    let loaded = load(&Sources {
        file: Some(file("database_url = 'postgres://file/a'\n[http]\nlisten = '0.0.0.0:1'\n[worker]\nconcurrency = 3\noutstanding = 5")),
        environment: pairs(&[("DATABASE_URL", DATABASE), ("MUSTER_HTTP_LISTEN", "0.0.0.0:2"), ("MUSTER_WORKER_CONCURRENCY", "4"), ("HOME", "/")]),
        flags: pairs(&[("http.listen", "0.0.0.0:3")]),
    })
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.database_url.expose_secret(), DATABASE);
    assert_eq!((config.http.listen.port(), config.worker.concurrency, config.worker.outstanding), (3, 4, 5));
    assert_eq!(config.limits.query_depth, 12, "a default stays");

    let origin =
        |key: &str| loaded.effective().into_iter().find(|effective| effective.key == key).unwrap().origin.to_string();
    assert_eq!(origin("http.listen"), "command line");
    assert_eq!(origin("worker.concurrency"), "MUSTER_WORKER_CONCURRENCY");
    assert_eq!(origin("worker.outstanding"), "muster.toml");
    assert_eq!(origin("limits.query_depth"), "default");
}

#[test]
fn the_prefixed_variable_wins_over_the_plain_one_and_empty_ones_are_not_set() {
    let environment =
        pairs(&[("DATABASE_URL", "postgres://plain/a"), ("MUSTER_DATABASE_URL", DATABASE), ("REDIS_URL", "")]);
    let config = load(&Sources { environment, ..Sources::default() }).unwrap().config;
    assert_eq!(config.database_url.expose_secret(), DATABASE);
    assert!(config.redis_url.is_none());
}

#[test]
fn all_faults_of_all_sources_are_listed_at_once() {
    let faults = faults(&Sources {
        file: Some(file(
            "colour = 'red'\n[http]\nlisten = 'localhost'\nport = 1\n[mail.smtp]\nport = 70000\ntls = 'yes'\n[limits]\nbulk = [1]",
        )),
        environment: pairs(&[("MUSTER_LIMITS_BULK", "many"), ("MUSTER_LIMIT_BULK", "1"), ("MUSTER_LOG_FORMAT", "xml")]),
        flags: pairs(&[("log.filter", "muster=loud"), ("mail.smtp.password", "hunter2")]),
    });
    for expected in [
        "the key in muster.toml \"colour\" is unknown",
        "the key in muster.toml \"http.port\" is unknown",
        "http.listen in muster.toml is \"localhost\"; wanted: an IP address and a port, for example 0.0.0.0:8080",
        "mail.smtp.port in muster.toml is \"70000\"; wanted: a whole number from 1 to 65535, for example 587",
        "mail.smtp.tls in muster.toml is \"yes\"; wanted: none or starttls or implicit, for example starttls",
        "limits.bulk in muster.toml",
        "environment variable MUSTER_LIMITS_BULK is \"many\"",
        "the environment variable \"MUSTER_LIMIT_BULK\" is unknown",
        "environment variable MUSTER_LOG_FORMAT is \"xml\"",
        "--set log.filter is \"muster=loud\"",
        "--set mail.smtp.password is refused",
        "database_url (DATABASE_URL or MUSTER_DATABASE_URL) is not set; wanted: a PostgreSQL URL, for example postgres://",
    ] {
        assert_eq!(
            faults.iter().filter(|fault| fault.starts_with(expected)).count(),
            1,
            "{expected:?} once in {faults:#?}"
        );
    }
    assert_eq!(faults.len(), 12, "{faults:#?}");
}

#[test]
fn no_message_shows_a_secret() {
    let contents = [
        "database_url = 'hunter2'",
        "database_url = ['hunter2']",
        "database_url = 'hunter2\n",
        "[mail.smtp]\npassword = {a='hunter2'}",
    ];
    for content in contents {
        let shown = faults(&Sources { file: Some(file(content)), ..Sources::default() }).join("\n");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let environment =
        pairs(&[("REDIS_URL", "hunter2"), ("MUSTER_INSTALLATION_KEY", "hunter2"), ("DATABASE_URL", "hunter2")]);
    let shown = faults(&Sources { environment, ..Sources::default() }).join("\n");
    assert!(
        !shown.contains("hunter2") && shown.contains("REDIS_URL") && shown.contains("64 hexadecimal digits"),
        "{shown}"
    );

    let loaded = load(&Sources { environment: pairs(&[("DATABASE_URL", DATABASE)]), ..Sources::default() }).unwrap();
    let shown = format!("{loaded:?} {:?}", loaded.effective());
    assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
}

#[test]
fn settings_that_do_not_fit_together_are_refused() {
    let wrong = |environment: &[(&str, &str)]| {
        let mut all = pairs(environment);
        all.extend(pairs(&[("DATABASE_URL", DATABASE)]));
        faults(&Sources { environment: all, ..Sources::default() })
    };
    let open_outbox =
        wrong(&[("MUSTER_MAIL_TRANSPORT", "outbox"), ("MUSTER_HTTP_PUBLIC_URL", "https://muster.example.com")]);
    assert!(
        open_outbox.len() == 1 && open_outbox[0].contains("mail.transport (MUSTER_MAIL_TRANSPORT)"),
        "{open_outbox:?}"
    );
    let heard_outbox = wrong(&[("MUSTER_MAIL_TRANSPORT", "outbox"), ("MUSTER_HTTP_LISTEN", "0.0.0.0:8080")]);
    assert!(
        heard_outbox.len() == 1 && heard_outbox[0].contains("http.listen (MUSTER_HTTP_LISTEN)"),
        "{heard_outbox:?}"
    );
    assert!(wrong(&[("MUSTER_MAIL_SMTP_PASSWORD", "a")])[0].contains("MUSTER_MAIL_SMTP_USERNAME"));
    assert!(wrong(&[("MUSTER_MAIL_SMTP_USERNAME", "a")])[0].contains("MUSTER_MAIL_SMTP_PASSWORD"));
    assert!(wrong(&[("MUSTER_LINKS_INVITATION", "https://app.example.com/join")])[0].contains("{token}"));
}

#[test]
fn addresses_are_judged_by_their_form() {
    for url in [
        "http://127.0.0.1:8080",
        "http://localhost",
        "http://[::1]:80/x",
        "https://muster.localhost:1",
        "http://127.9.9.9",
    ] {
        assert!(is_loopback_url(url), "{url}");
    }
    for url in [
        "http://127.0.0.1.example.com",
        "http://localhost@example.com",
        "http://example.com/localhost",
        "localhost",
        "http://0.0.0.0",
    ] {
        assert!(!is_loopback_url(url), "{url}");
    }
    for url in ["https://a.example", "https://a.example:8443/muster", "http://[2001:db8::1]:80"] {
        assert!(check::is_base_url(url), "{url}");
    }
    for url in [
        "https://a.example/",
        "https://",
        "https://a b",
        "https://a:b",
        "https://u:p@a",
        "ftp://a",
        "https://a?x",
        "http://::1",
        "https://a:",
    ] {
        assert!(!check::is_base_url(url), "{url}");
    }
    assert!(check::is_origin("https://a.example:1") && !check::is_origin("https://a.example/x"));
    assert!(check::is_mailbox("a@b.example") && check::is_mailbox("Muster <a@b.example>"));
    assert!(
        !check::is_mailbox("Muster")
            && !check::is_mailbox("A\nBcc: x <a@b.example>")
            && !check::is_mailbox("<a@b.example> x")
    );
}

#[test]
fn every_row_of_the_table_is_sound() {
    let keys: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
    assert_eq!(keys.len(), SETTINGS.len(), "keys are unique");
    let mut defaults = Config::defaults(DATABASE);
    for setting in SETTINGS {
        let is_placeholder = setting.example.starts_with('(');
        let default = setting.text(&mut defaults);
        assert!(is_placeholder || setting.form.accepts(setting.example), "example of {}", setting.key);
        assert!(default.is_none_or(|text| setting.form.accepts(&text)), "default of {}", setting.key);
        if !is_placeholder {
            let taken = (setting.field)(&mut Config::defaults("")).set(setting.example);
            assert!(taken.is_some(), "example of {}", setting.key);
        }
        assert!(setting.doc.ends_with('.'), "doc of {}", setting.key);
    }
}

#[test]
fn every_field_can_be_set() {
    // A new field of a section needs a row of the table; without one the counts differ.
    let Config { http, links, mail, log, metrics, sign_up, billing, limits, retention, worker, password, .. } =
        Config::defaults("");
    let debug = format!(
        "{http:?}{links:?}{mail:?}{log:?}{metrics:?}{sign_up:?}{billing:?}{limits:?}{retention:?}{worker:?}{password:?}"
    );
    let fields = debug.matches(": ").count() - "smtp: ".matches(": ").count();
    let top_level = SETTINGS.iter().filter(|setting| !setting.key.contains('.')).count();
    assert_eq!(SETTINGS.len() - top_level, fields, "{debug}");
}

#[test]
fn the_reference_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == reference(), "docs/configuration.md is out of date; run ./dev schema");
}
