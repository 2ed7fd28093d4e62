//! `muster billing`: what an operator decides about money.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use domain::actor::Origin;
use domain::billing::operate::Payment;
use domain::billing::{TaxRate, charge, credit, operate};
use domain::change::{Change, Kind};
use domain::id::{AccountId, AttemptId};
use domain::infra::clock::Clock;
use domain::infra::config::Config;
use domain::infra::db::Db;
use domain::infra::keys;
use domain::infra::money::{Currency, Money};

use crate::database::{self, explain};
use crate::seats::{self, account_id};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Record that a statement was paid, by a transfer for example
    Pay {
        /// The account's id, like acc_…
        #[arg(value_parser = account_id)]
        account: AccountId,
        /// The statement's number
        number: i32,
    },
    /// Give something back: it is taken off the account's next statements, with its tax
    Credit {
        /// The account's id, like acc_…
        #[arg(value_parser = account_id)]
        account: AccountId,
        /// The product's key in the catalogue, like base
        product: String,
        /// How much, without tax, like 12.50
        amount: String,
        /// In which currency: that of the account's plan, like EUR
        currency: String,
        /// Why; it stands on the statement
        #[arg(long)]
        reason: String,
    },
    /// Decide what became of a charge that the gateway knows nothing of any more (`muster verify` names them)
    Resolve {
        /// The attempt's id, like att_…
        #[arg(value_parser = attempt_id)]
        attempt: AttemptId,
        /// The money came
        #[arg(long, required_unless_present = "declined")]
        charged: bool,
        /// The money did not come
        #[arg(long, conflicts_with = "charged")]
        declined: bool,
    },
    /// Set an account's tax rate
    Tax {
        /// The account's id, like acc_…
        #[arg(value_parser = account_id)]
        account: AccountId,
        /// In percent, like 19; `default` for that of the installation
        #[arg(value_parser = tax_rate)]
        rate: Rate,
    },
    /// Set who collects from an account
    Gateway {
        /// The account's id, like acc_…
        #[arg(value_parser = account_id)]
        account: AccountId,
        /// On account, or by the sandbox
        #[arg(value_parser = ["account", "sandbox"])]
        gateway: String,
    },
}

/// A rate, or that of the installation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate(Option<TaxRate>);

fn attempt_id(text: &str) -> Result<AttemptId, &'static str> {
    text.parse().map_err(|_| "wanted: the attempt's id, att_ and 32 hexadecimal digits")
}

fn tax_rate(text: &str) -> Result<Rate, &'static str> {
    if text == "default" {
        return Ok(Rate(None));
    }
    text.parse()
        .map(|rate| Rate(Some(rate)))
        .map_err(|_| "wanted: a percentage from 0 to 100 with at most four decimal places, or default")
}

pub(crate) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let db = database::open(config, keys::existing(config)?, Clock::default()).await?;
    let mut out = std::io::stdout().lock();
    match &args.command {
        Command::Pay { account, number } => {
            let mut change = begin(&db, *account).await?;
            let payment = operate::record_payment(&mut change, *number).await.map_err(explain)?;
            let (minor, currency) = match payment {
                Payment::Recorded { amount, currency } => (amount, currency),
                Payment::Charging(attempt) => anyhow::bail!(
                    "attempt {attempt} to collect statement {number} has no answer yet, so it could be paid twice: wait, or decide about \
                     it (muster billing resolve {attempt}) if muster verify names it"
                ),
                Payment::NotOwed => anyhow::bail!("nothing is owed on statement {number} of {account}"),
            };
            change.commit().await.map_err(explain)?;
            let shown =
                Currency::parse(&currency).map(|currency| Money { minor, currency }.amount()).map_err(explain)?;
            writeln!(out, "statement {number} is paid: {shown} {currency}")?;
        }
        Command::Credit { account, product, amount, currency, reason } => {
            let money =
                Currency::parse(currency).and_then(|currency| Money::parse(amount, currency)).map_err(explain)?;
            let mut change = begin(&db, *account).await?;
            let credit = credit::give(&mut change, product, money, reason).await.map_err(explain)?;
            change.commit().await.map_err(explain)?;
            writeln!(
                out,
                "{credit}: {} {currency} and the tax on it will be taken off the next statements",
                money.amount()
            )?;
        }
        Command::Resolve { attempt, charged, declined: _ } => {
            let account = charge::account_of(&mut *db.pool.acquire().await?, *attempt).await?;
            let Some(account) = account else { anyhow::bail!("there is no attempt {attempt}") };
            let mut change = begin(&db, account).await?;
            if !operate::resolve(&mut change, *attempt, *charged).await.map_err(explain)? {
                anyhow::bail!(
                    "nothing is to be decided about {attempt}: it is known what became of it, or somebody is finding out"
                );
            }
            change.commit().await.map_err(explain)?;
            writeln!(out, "{attempt} is {}", if *charged { "charged" } else { "declined" })?;
        }
        Command::Tax { account, rate } => {
            let mut change = begin(&db, *account).await?;
            operate::set_tax_rate(&mut change, rate.0).await.map_err(explain)?;
            change.commit().await.map_err(explain)?;
            writeln!(out, "the tax rate is {} %", rate.0.unwrap_or(db.billing.tax_rate))?;
        }
        Command::Gateway { account, gateway } => {
            let mut change = begin(&db, *account).await?;
            operate::set_gateway(&mut change, gateway).await.map_err(explain)?;
            change.commit().await.map_err(explain)?;
            writeln!(out, "charges are collected by: {gateway}")?;
        }
    }
    db.waker.flush().await;
    Ok(ExitCode::SUCCESS)
}

async fn begin(db: &Db, account: AccountId) -> anyhow::Result<Change> {
    seats::name(db, account).await?;
    Change::begin(db, account, Kind::System, Origin::operator(), None).await.map_err(explain)
}
