//! SMTP through lettre's connection, with a pool of our own: lettre's puts a connection back whose command was cancelled, so that
//! the next mail reads the reply of the last one; it limits how many connections are kept, not how many are open; and its
//! time-out ends with the TCP connection.

use std::time::Duration;

use domain::infra::config::{self, SmtpTls};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use super::{Delivery, ProbeFault, Transport, TransportError};
use crate::mail::clean;
use crate::mail::compose::Composed;

/// For the whole of one mail, from the wait for a connection to the reply.
const TIME_OUT: Duration = Duration::from_secs(10);
/// Part of it that may be spent waiting for a connection.
const WAIT: Duration = Duration::from_secs(5);

/// A mail server.
pub(super) struct Smtp {
    host: String,
    port: u16,
    tls: SmtpTls,
    tls_parameters: Option<TlsParameters>,
    credentials: Option<Credentials>,
    /// How we introduce ourselves: the sender's domain.
    hello: ClientId,
    /// [`TIME_OUT`], shorter in tests.
    time_out: Duration,
    /// [`WAIT`], shorter in tests.
    wait: Duration,
    /// One permit per connection that may be open and in use.
    slots: Semaphore,
    idle: Mutex<Vec<AsyncSmtpConnection>>,
}

/// What kept a mail from being accepted.
enum Fault {
    /// No connection was free in time.
    Busy,
    /// There is nobody to talk to.
    Reach(std::io::Error),
    /// What answers is no mail server.
    Connect(lettre::transport::smtp::Error),
    /// TLS could not be agreed on.
    Encrypt(lettre::transport::smtp::Error),
    /// The server does not let us in.
    Authenticate(lettre::transport::smtp::Error),
    /// It went wrong while the mail was handed over.
    Send(lettre::transport::smtp::Error),
}

impl Smtp {
    pub(super) fn new(config: &config::Mail) -> Result<Self, TransportError> {
        let smtp = &config.smtp;
        let credentials = smtp.username.as_ref().zip(smtp.password.as_ref());
        let sender: Option<Mailbox> = config.from.parse().ok();
        Ok(Self {
            host: smtp.host.clone(),
            port: smtp.port,
            tls: smtp.tls,
            tls_parameters: tls_parameters(smtp)?,
            credentials: credentials
                .map(|(name, password)| Credentials::new(name.clone(), password.expose_secret().to_owned())),
            hello: sender.map_or_else(ClientId::default, |sender| ClientId::Domain(sender.email.domain().to_owned())),
            time_out: TIME_OUT,
            wait: WAIT,
            slots: Semaphore::new(smtp.connections.max(1) as usize),
            idle: Mutex::new(Vec::new()),
        })
    }

    /// A connection on which one mail can be sent: an idle one that still answers, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, Fault> {
        loop {
            let Some(mut idle) = self.idle.lock().await.pop() else {
                return self.connect().await;
            };
            if idle.test_connected().await {
                return Ok(idle);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Fault> {
        let address = (self.host.as_str(), self.port);
        let mut connection = if self.tls == SmtpTls::Implicit {
            let implicit = self.tls_parameters.clone();
            let connected =
                AsyncSmtpConnection::connect_tokio1(address, Some(self.time_out), &self.hello, implicit, None);
            let fault = |fault| if is_certificate(&fault) { Fault::Encrypt(fault) } else { Fault::Connect(fault) };
            connected.await.map_err(fault)?
        } else {
            let stream = TcpStream::connect(address).await.map_err(Fault::Reach)?;
            // lettre writes the end of a mail by itself: it would wait for the server to acknowledge what came before, which
            // servers put off by some 40 ms.
            stream.set_nodelay(true).map_err(Fault::Reach)?;
            AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await.map_err(Fault::Connect)?
        };
        if let Some(parameters) = self.tls_parameters.clone().filter(|_| self.tls == SmtpTls::StartTls) {
            connection.starttls(parameters, &self.hello).await.map_err(Fault::Encrypt)?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(Fault::Authenticate)?;
        }
        Ok(connection)
    }

    /// A connection that fails or is cut short is dropped, never used again.
    async fn hand_over(&self, mail: &Composed) -> Result<Response, Fault> {
        let _slot = self.slot().await?;
        let mut connection = self.connection().await?;
        let response = connection.send(&mail.envelope, &mail.raw).await.map_err(Fault::Send)?;
        self.idle.lock().await.push(connection);
        Ok(response)
    }

    async fn slot(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Fault> {
        match timeout(self.wait, self.slots.acquire()).await {
            Ok(slot) => Ok(slot.expect("the semaphore is never closed")),
            Err(_) => Err(Fault::Busy),
        }
    }

    async fn try_connect(&self) -> Result<(), Fault> {
        let mut connection = self.connect().await?;
        connection.quit().await.map(drop).map_err(Fault::Send)
    }

    fn probe_fault(&self, code: &'static str, reply: Option<String>) -> ProbeFault {
        let (what, remedy) = match code {
            "SMTP_TLS" => ("TLS cannot be agreed on", "check mail.smtp.tls, mail.smtp.host and mail.smtp.ca_file"),
            "SMTP_AUTHENTICATION" => {
                ("it does not accept the sign-in", "check mail.smtp.username and mail.smtp.password")
            }
            "SMTP_TIMEOUT" => {
                ("it does not answer within 10 s", "check mail.smtp.port and mail.smtp.tls, and the firewall")
            }
            _ => ("it cannot be reached", "check mail.smtp.host and mail.smtp.port, and that the server runs"),
        };
        let reply = reply.map(|reply| format!(" ({reply})")).unwrap_or_default();
        ProbeFault { code, message: format!("mail server {}:{}: {what}{reply}", self.host, self.port), remedy }
    }
}

impl Transport for Smtp {
    fn send<'a>(&'a self, mail: &'a Composed) -> BoxFuture<'a, Delivery> {
        async move {
            match timeout(self.time_out, self.hand_over(mail)).await {
                Ok(Ok(response)) => Delivery::Accepted { reply: clean::reply(&said(&response)) },
                Ok(Err(fault)) => outcome(&fault),
                Err(_) => Delivery::Deferred { code: "SMTP_TIMEOUT", reply: None },
            }
        }
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), ProbeFault>> {
        async move {
            match timeout(self.time_out, self.try_connect()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(fault)) => Err(match outcome(&fault) {
                    Delivery::Deferred { code, reply } => self.probe_fault(code, reply),
                    Delivery::Accepted { reply } | Delivery::Refused { reply } => {
                        self.probe_fault("SMTP_UNREACHABLE", Some(reply))
                    }
                }),
                Err(_) => Err(self.probe_fault("SMTP_TIMEOUT", None)),
            }
        }
        .boxed()
    }
}

fn tls_parameters(smtp: &config::Smtp) -> Result<Option<TlsParameters>, TransportError> {
    if smtp.tls == SmtpTls::None {
        return Ok(None);
    }
    let mut builder = TlsParameters::builder(smtp.host.clone());
    if let Some(path) = &smtp.ca_file {
        let pem = std::fs::read(path)
            .map_err(|source| TransportError::AuthorityFile { path: path.display().to_string(), source })?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(TransportError::Tls)?);
    }
    builder.build().map(Some).map_err(TransportError::Tls)
}

/// What a fault means for the mail. Only what the server says about the mail itself is final.
fn outcome(fault: &Fault) -> Delivery {
    let deferred = |code, fault| Delivery::Deferred { code, reply: Some(clean::reply(&explain(fault))) };
    match fault {
        Fault::Busy => Delivery::Deferred { code: "SMTP_BUSY", reply: None },
        Fault::Reach(fault) => {
            Delivery::Deferred { code: "SMTP_UNREACHABLE", reply: Some(clean::reply(&fault.to_string())) }
        }
        Fault::Connect(fault) => deferred("SMTP_UNREACHABLE", fault),
        Fault::Encrypt(fault) => deferred("SMTP_TLS", fault),
        Fault::Authenticate(fault) => deferred("SMTP_AUTHENTICATION", fault),
        Fault::Send(fault) if asks_for_sign_in(fault) => deferred("SMTP_AUTHENTICATION", fault),
        Fault::Send(fault) if fault.is_permanent() || fault.is_client() => {
            Delivery::Refused { reply: clean::reply(&explain(fault)) }
        }
        Fault::Send(fault) if fault.is_transient() => deferred("SMTP_TEMPORARY", fault),
        Fault::Send(fault) => deferred("SMTP_INTERRUPTED", fault),
    }
}

/// 530 and 535 are about our settings, not about the recipient.
fn asks_for_sign_in(fault: &lettre::transport::smtp::Error) -> bool {
    fault.status().is_some_and(|code| matches!(u16::from(code), 530 | 535))
}

fn is_certificate(fault: &lettre::transport::smtp::Error) -> bool {
    let mut source = std::error::Error::source(fault);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::InvalidData;
        }
        source = inner.source();
    }
    fault.is_tls()
}

/// `550 5.1.1 User unknown`, or what broke where the server said nothing.
fn explain(fault: &lettre::transport::smtp::Error) -> String {
    let source = std::error::Error::source(fault).map(ToString::to_string);
    match (fault.status(), source) {
        (Some(code), Some(text)) => format!("{code} {text}"),
        (Some(code), None) => code.to_string(),
        (None, Some(text)) => text,
        (None, None) => fault.to_string(),
    }
}

fn said(response: &Response) -> String {
    std::iter::once(response.code().to_string())
        .chain(response.message().map(str::to_owned))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::transport::test_mail::{composed, settings};

    #[tokio::test]
    async fn a_server_that_says_nothing_defers_this_mail_and_those_behind_it() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = settings(silent.local_addr().unwrap().port());
        settings.smtp.connections = 1;
        let mut smtp = Smtp::new(&settings).unwrap();
        smtp.time_out = Duration::from_millis(200);
        smtp.wait = Duration::from_millis(20);
        let (ann, bob) =
            (composed("ann@firm.example", "1@muster.example"), composed("bob@firm.example", "2@muster.example"));
        let (first, second) = tokio::join!(smtp.send(&ann), smtp.send(&bob));
        assert_eq!(first, Delivery::Deferred { code: "SMTP_TIMEOUT", reply: None });
        assert_eq!(second, Delivery::Deferred { code: "SMTP_BUSY", reply: None });
        assert_eq!(smtp.probe().await.unwrap_err().code, "SMTP_TIMEOUT");
    }
}
