//! Mails handed to a real mail server that also delays, refuses, drops and restarts.

use std::path::Path;
use std::sync::Arc;

use domain::infra::clock::Timestamp;
use domain::infra::config::{Config, Mail as Settings, SmtpTls};
use worker::mail::{Composed, Composer, Delivery, Mail, Recipient, Transport, TransportError, transport};

use crate::support::mail_server::{Folder, Server};

/// Settings for a server on `port` of this host.
fn settings(port: u16) -> Settings {
    let mut settings = Config::defaults("postgres://localhost/muster").mail;
    settings.smtp.port = port;
    settings
}

fn opened(settings: &Settings) -> Result<Arc<dyn Transport>, TransportError> {
    transport(settings, Path::new("/nonexistent"))
}

fn connected_to(server: &Server) -> Arc<dyn Transport> {
    opened(&settings(server.port)).unwrap()
}

fn composed(address: &str, message_id: &str) -> Composed {
    let mail = Mail::PasswordReset { url: "https://muster.example/p/1".to_owned(), valid_for: "1 hour".to_owned() };
    let date = Timestamp("2026-11-21T19:00:00Z".parse().unwrap());
    let composer = Composer::new(&settings(25)).unwrap();
    composer.compose(&mail, Recipient { name: None, address }, message_id, date).unwrap()
}

async fn delivery(smtp: &Arc<dyn Transport>, address: &str) -> Delivery {
    smtp.send(&composed(address, "1@muster.example")).await
}

fn code(delivery: Delivery) -> (&'static str, String) {
    match delivery {
        Delivery::Deferred { code, reply } => (code, reply.unwrap_or_default()),
        other => panic!("not deferred: {other:?}"),
    }
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_composed() {
    let server = Server::start(&[]);
    let mut mail = composed("ann@firm.example", "1@muster.example");
    mail.raw.extend_from_slice(b".\r\n..\r\n.end\r\n");
    let delivery = connected_to(&server).send(&mail).await;
    assert_eq!(delivery, Delivery::Accepted { reply: "250 2.0.0 Ok: queued as 1".to_owned() });
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].facts["from"], "muster@localhost");
    assert_eq!(mails[0].facts["to"], serde_json::json!(["ann@firm.example"]));
    let received = String::from_utf8_lossy(&mails[0].raw);
    assert_eq!(received.trim_end(), String::from_utf8_lossy(&mail.raw).trim_end());
}

#[tokio::test]
async fn what_the_server_says_decides() {
    let server = Server::start(&[]);
    let smtp = connected_to(&server);
    let deferred = code(delivery(&smtp, "defer@firm.example").await);
    assert_eq!(deferred, ("SMTP_TEMPORARY", "451 4.7.1 Greylisted, try again later".to_owned()));
    let deferred = code(delivery(&smtp, "late-defer@firm.example").await);
    assert_eq!(deferred, ("SMTP_TEMPORARY", "451 4.3.0 Try again later".to_owned()));

    let reply = "550 5.1.1 <address>: Recipient address rejected: User unknown".to_owned();
    assert_eq!(delivery(&smtp, "refuse@firm.example").await, Delivery::Refused { reply });
    let reply = "554 5.7.1 Message refused by policy".to_owned();
    assert_eq!(delivery(&smtp, "late-refuse@firm.example").await, Delivery::Refused { reply });
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_lost_connection_defers_and_the_next_mail_goes_out() {
    let server = Server::start(&[]);
    let smtp = connected_to(&server);
    assert_eq!(code(delivery(&smtp, "reset@firm.example").await).0, "SMTP_INTERRUPTED");
    assert_eq!(code(delivery(&smtp, "drop@firm.example").await).0, "SMTP_INTERRUPTED");
    assert!(matches!(delivery(&smtp, "ann@firm.example").await, Delivery::Accepted { .. }));
    assert_eq!(server.mails().len(), 2, "the dropped one was taken all the same");
}

#[tokio::test]
async fn a_send_that_is_given_up_leaves_no_reply_behind() {
    let server = Server::start(&[]);
    let smtp = connected_to(&server);
    assert!(matches!(delivery(&smtp, "ann@firm.example").await, Delivery::Accepted { .. }));
    let slow = composed("slow+30@firm.example", "2@muster.example");
    let given_up = tokio::select! {
        delivery = smtp.send(&slow) => Some(delivery),
        () = async { while server.mails().len() < 2 { tokio::task::yield_now().await; } } => None,
    };
    assert_eq!(given_up, None, "the server took the mail and has not answered");
    assert_eq!(code(delivery(&smtp, "defer@firm.example").await).0, "SMTP_TEMPORARY");
    assert!(matches!(delivery(&smtp, "ann@firm.example").await, Delivery::Accepted { .. }));
    assert_eq!(server.mails().len(), 3);
}

#[tokio::test]
async fn connections_are_reused_and_no_more_than_allowed_are_open() {
    let server = Server::start(&[]);
    let mut settings = settings(server.port);
    settings.smtp.connections = 2;
    let smtp = opened(&settings).unwrap();
    let sends = (0..20).map(|_| async { delivery(&smtp, "ann@firm.example").await });
    for sent in futures::future::join_all(sends).await {
        assert!(matches!(sent, Delivery::Accepted { .. }));
    }
    let mails = server.mails();
    assert_eq!(mails.len(), 20);
    assert!(
        mails.iter().all(|mail| mail.facts["connection"].as_u64() <= Some(2) && mail.facts["open"].as_u64() <= Some(2))
    );
}

#[tokio::test]
async fn a_server_that_restarts_costs_no_mail() {
    let mut server = Server::start(&[]);
    let smtp = connected_to(&server);
    assert!(matches!(delivery(&smtp, "ann@firm.example").await, Delivery::Accepted { .. }));
    server.stop();
    let (code, _) = code(delivery(&smtp, "ann@firm.example").await);
    assert_eq!(code, "SMTP_UNREACHABLE");
    let again = Server::start(&["--port", &server.port.to_string()]);
    assert!(matches!(delivery(&smtp, "ann@firm.example").await, Delivery::Accepted { .. }));
    assert_eq!(again.mails().len(), 1);
}

#[tokio::test]
async fn an_address_outside_ascii_is_refused_where_the_server_takes_none() {
    let server = Server::start(&[]);
    assert!(matches!(delivery(&connected_to(&server), "zoë@firm.example").await, Delivery::Refused { .. }));
}

#[tokio::test]
async fn signing_in_is_about_the_settings_not_the_mail() {
    let server = Server::start(&["--user", "muster", "--password", "right"]);
    let mut settings = settings(server.port);
    let smtp = opened(&settings).unwrap();
    assert_eq!(code(delivery(&smtp, "ann@firm.example").await).0, "SMTP_AUTHENTICATION");

    settings.smtp.username = Some("muster".to_owned());
    settings.smtp.password = Some("wrong".into());
    let smtp = opened(&settings).unwrap();
    assert_eq!(code(delivery(&smtp, "ann@firm.example").await).0, "SMTP_AUTHENTICATION");
    let fault = smtp.probe().await.unwrap_err();
    assert!(fault.to_string().contains("mail.smtp.password"), "{fault}");
    assert!(!fault.to_string().contains("wrong"));

    settings.smtp.password = Some("right".into());
    let smtp = opened(&settings).unwrap();
    assert!(smtp.probe().await.is_ok());
    assert!(matches!(delivery(&smtp, "ann@firm.example").await, Delivery::Accepted { .. }));
    assert_eq!(server.mails()[0].facts["user"], "muster");
}

#[tokio::test]
async fn both_kinds_of_tls_work_with_a_private_authority_and_only_with_it() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    for (mode, tls) in [("starttls", SmtpTls::StartTls), ("implicit", SmtpTls::Implicit)] {
        let server = Server::start(&["--tls", mode, "--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()]);
        let mut settings = settings(server.port);
        settings.smtp.tls = tls;
        let stranger = opened(&settings).unwrap();
        assert_eq!(code(delivery(&stranger, "ann@firm.example").await).0, "SMTP_TLS", "{mode}");
        assert_eq!(stranger.probe().await.unwrap_err().code, "SMTP_TLS", "{mode}");

        settings.smtp.ca_file = Some(cert.clone());
        let smtp = opened(&settings).unwrap();
        assert!(matches!(delivery(&smtp, "ann@firm.example").await, Delivery::Accepted { .. }), "{mode}");
        assert_eq!(server.mails()[0].facts["tls"], true, "{mode}");
    }
}

#[tokio::test]
async fn starttls_is_required_where_it_is_set() {
    let server = Server::start(&[]);
    let mut settings = settings(server.port);
    settings.smtp.tls = SmtpTls::StartTls;
    assert_eq!(code(delivery(&opened(&settings).unwrap(), "ann@firm.example").await).0, "SMTP_TLS");
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn the_probe_names_what_to_mend() {
    let mut server = Server::start(&[]);
    assert!(connected_to(&server).probe().await.is_ok());
    server.stop();
    let fault = connected_to(&server).probe().await.unwrap_err();
    assert_eq!(fault.code, "SMTP_UNREACHABLE");
    assert!(fault.to_string().contains(&format!("localhost:{}", server.port)), "{fault}");

    let mut settings = settings(1);
    settings.smtp.ca_file = Some("/nonexistent/ca.pem".into());
    settings.smtp.tls = SmtpTls::Implicit;
    let fault = opened(&settings).err().unwrap();
    assert!(fault.to_string().contains("/nonexistent/ca.pem"));
}
