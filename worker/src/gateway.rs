//! Who collects money. A gateway is asked under a key, by which it knows a repetition and answers it as the first time; what became of a
//! key can be looked up.

mod account;
mod sandbox;

use std::path::Path;

use domain::billing::charge::{Ask, Outcome};
use domain::id::AttemptId;
use futures::future::BoxFuture;
use jiff::SignedDuration;

pub use account::OnAccount;
pub use sandbox::Sandbox;

/// What came back of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What it did: a gateway may tell it more than once.
    Outcomes(Vec<Outcome>),
    /// Nothing that says what it did.
    Unknown,
}

/// What a gateway knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// What it did.
    Outcome(Outcome),
    /// It still works on it.
    Pending,
    /// It was never asked under this key, or has forgotten it.
    Nothing,
    /// It did not answer.
    Unknown,
}

/// A way to collect money.
pub trait Gateway: Send + Sync {
    /// How long it remembers a key.
    fn key_life(&self) -> SignedDuration;

    /// Asks for money. Dropped when it takes too long; that says nothing about the money.
    fn charge<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Answer>;

    /// Asks what became of a key.
    fn look_up<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Found>;

    /// Gives the money of a key back; once, however often it is asked. False: it did not answer.
    fn refund(&self, attempt: AttemptId) -> BoxFuture<'_, bool>;
}

/// The gateways of an installation.
#[derive(Debug)]
pub struct Gateways {
    account: OnAccount,
    sandbox: Sandbox,
}

impl Gateways {
    /// All of them; the sandbox remembers in a folder of `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        Self { account: OnAccount, sandbox: Sandbox::new(data_dir.join("sandbox")) }
    }

    /// The one with this name, as stored with an attempt.
    pub fn find(&self, name: &str) -> Option<&dyn Gateway> {
        match name {
            "account" => Some(&self.account),
            "sandbox" => Some(&self.sandbox),
            _ => None,
        }
    }
}
