//! Outgoing mail: the templates, and the mail server, which is greeted and signed in to as for a mail. No mail is sent.

use domain::infra::config::{Config, MailTransport, SmtpTls};
use worker::mail::{self, Composer};

use super::Finding;

pub(super) async fn inspect(config: &Config) -> Vec<Finding> {
    let mut findings = templates(&config.mail);
    findings.push(server(config).await);
    let smtp = &config.mail.smtp;
    if config.mail.transport == MailTransport::Smtp && smtp.tls == SmtpTls::None && smtp.password.is_some() {
        findings.push(Finding::warning(
            "the mail server's password is sent unencrypted",
            "set mail.smtp.tls to starttls or implicit",
        ));
    }
    findings
}

fn templates(config: &domain::infra::config::Mail) -> Vec<Finding> {
    let problems = Composer::check(config);
    if problems.is_empty() {
        let origin = config.templates_dir.as_ref().map_or("built in".to_owned(), |dir| dir.display().to_string());
        return vec![Finding::ok(format!("every mail can be written (templates: {origin})"))];
    }
    let mend = "correct it; without the file in mail.templates_dir the built-in one is used";
    problems.iter().map(|problem| Finding::problem(problem.to_string(), mend)).collect()
}

async fn server(config: &Config) -> Finding {
    // Trying the outbox out would create the data folder, perhaps as another user than the service's.
    if config.mail.transport == MailTransport::Outbox {
        return Finding::warning(
            "mail goes to files that /dev/mail shows",
            "only for development; set mail.transport to smtp",
        );
    }
    let transport = match mail::transport(&config.mail, &config.data_dir) {
        Ok(transport) => transport,
        Err(error) => return Finding::problem(error.to_string(), "correct the file or the setting"),
    };
    match transport.probe().await {
        Ok(()) => Finding::ok(format!("{}:{} lets us in", config.mail.smtp.host, config.mail.smtp.port)),
        Err(fault) => Finding::problem(fault.message, fault.remedy),
    }
}
