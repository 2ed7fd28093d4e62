//! The mail server: answers, speaks SMTP, and offers what the configuration wants. No mail is sent.

use domain::infra::config::{Config, MailTransport, Smtp, SmtpTls};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{Finding, PATIENCE};

pub(super) async fn inspect(config: &Config) -> Vec<Finding> {
    let smtp = &config.mail.smtp;
    if config.mail.transport == MailTransport::Outbox {
        return vec![Finding::warning(
            "mail goes to files that /dev/mail shows",
            "only for development; set mail.transport to smtp",
        )];
    }
    let mut findings = vec![match tokio::time::timeout(PATIENCE, probe(smtp)).await {
        Err(_) => unreachable_server(smtp, &format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Err(error)) => unreachable_server(smtp, &error.to_string()),
        Ok(Ok(finding)) => finding,
    }];
    if smtp.tls == SmtpTls::None && smtp.password.is_some() {
        findings.push(Finding::warning(
            "the mail server's password is sent unencrypted",
            "set mail.smtp.tls to starttls or implicit",
        ));
    }
    findings
}

fn unreachable_server(smtp: &Smtp, problem: &str) -> Finding {
    Finding::problem(
        format!("{}:{} cannot be used: {problem}", smtp.host, smtp.port),
        "start the server, or correct mail.smtp.host and mail.smtp.port (MUSTER_MAIL_SMTP_HOST, MUSTER_MAIL_SMTP_PORT)",
    )
}

async fn probe(smtp: &Smtp) -> std::io::Result<Finding> {
    let stream = TcpStream::connect((smtp.host.as_str(), smtp.port)).await?;
    let server = format!("{}:{}", smtp.host, smtp.port);
    if smtp.tls == SmtpTls::Implicit {
        return Ok(Finding::ok(format!("{server} answers (encrypted from the first byte, so not looked into)")));
    }
    let mut stream = BufReader::new(stream);
    let greeting = reply(&mut stream).await?;
    if !greeting.starts_with("220") {
        return Ok(Finding::problem(
            format!("{server} does not greet as a mail server"),
            "correct mail.smtp.port, or mail.smtp.tls if it wants implicit",
        ));
    }
    stream.write_all(b"EHLO localhost\r\n").await?;
    let offers = reply(&mut stream).await?.to_ascii_uppercase();
    stream.write_all(b"QUIT\r\n").await?;
    Ok(judge(smtp, &server, &offers))
}

fn judge(smtp: &Smtp, server: &str, offers: &str) -> Finding {
    let offered = |word: &str| offers.lines().any(|line| line.get(4..).is_some_and(|rest| rest.starts_with(word)));
    if !offers.starts_with("250") {
        return Finding::problem(format!("{server} refuses EHLO"), "let the server accept mail from this host");
    }
    if smtp.tls == SmtpTls::StartTls && !offered("STARTTLS") {
        return Finding::problem(
            format!("{server} does not offer STARTTLS"),
            "set mail.smtp.tls to implicit, or to none for a server on this host",
        );
    }
    if smtp.tls == SmtpTls::None && smtp.username.is_some() && !offered("AUTH") {
        return Finding::problem(
            format!("{server} does not offer sign-in without encryption"),
            "set mail.smtp.tls to starttls",
        );
    }
    Finding::ok(format!("{server} accepts mail"))
}

/// One reply of the server, of one or more lines; at most 16 KiB.
async fn reply(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        let start = text.len();
        let left = 16_384_u64.saturating_sub(start as u64);
        (&mut *stream).take(left).read_line(&mut text).await?;
        let goes_on = text.as_bytes().get(start + 3) == Some(&b'-');
        if !goes_on {
            return Ok(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ok(smtp: &Smtp, offers: &str) -> bool {
        matches!(judge(smtp, "mail", offers), Finding::Ok(_))
    }

    #[test]
    fn what_the_configuration_wants_must_be_offered() {
        let plain = Smtp::default();
        assert!(is_ok(&plain, "250-MAIL\r\n250 SIZE 1\r\n"));
        assert!(!is_ok(&plain, "550 NO\r\n"));
        let encrypted = Smtp { tls: SmtpTls::StartTls, ..Smtp::default() };
        assert!(is_ok(&encrypted, "250-MAIL\r\n250 STARTTLS\r\n"));
        assert!(!is_ok(&encrypted, "250 MAIL\r\n"));
        let signed_in = Smtp { username: Some("muster".to_owned()), ..Smtp::default() };
        assert!(is_ok(&signed_in, "250-MAIL\r\n250 AUTH PLAIN LOGIN\r\n"));
        assert!(!is_ok(&signed_in, "250 MAIL\r\n"));
    }

    #[tokio::test]
    async fn a_reply_ends_where_the_server_ends_it() {
        let mut stream = BufReader::new(&b"250-A\r\n250-B\r\n250 C\r\n220 next\r\n"[..]);
        assert_eq!(reply(&mut stream).await.unwrap(), "250-A\r\n250-B\r\n250 C\r\n");
        assert_eq!(reply(&mut stream).await.unwrap(), "220 next\r\n");
        assert_eq!(reply(&mut stream).await.unwrap(), "");
    }
}
