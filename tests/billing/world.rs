//! A firm that buys licences, at the level of the rules, on a clock that can be moved.

use anyhow::{Context as _, Result, ensure};
use domain::actor::Actor;
use domain::billing::calendar::Interval;
use domain::billing::statement::{self, State, Statement};
use domain::catalogue::{self, Catalogue};
use domain::change::{self, Kind, Once};
use domain::error::Error;
use domain::id::{ChangeId, MemberId, QuoteId};
use domain::infra::clock::Timestamp;
use domain::infra::config::Config;
use domain::infra::migrate;
use domain::infra::page::{Arguments, Request};
use domain::invitation::ErrorPolicy;
use domain::license::allocate::{self, Direction};
use domain::license::change::{ChangeStatus, LicenseChange};
use domain::license::quote::{self, Quote};
use domain::license::terms::{QuoteKind, Release, Wish};
use domain::license::{self, Pool};
use domain::verify;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::SignedDuration;

use crate::support::app::{App, Options};
use crate::support::firm;

/// A seat of 12.00 a month, a sister product of 5.00, an add-on of 7.00 that can be tried; in three currencies, by month and by year.
pub(crate) const CATALOGUE: &str = r#"
[[product]]
key = "base"
name = "Seat"
kind = "BASE"
price = [
    { currency = "EUR", interval = "MONTH", amount = "12.00", valid_from = "2020-01-01" },
    { currency = "EUR", interval = "YEAR", amount = "120.00", valid_from = "2020-01-01" },
    { currency = "JPY", interval = "MONTH", amount = "1500", valid_from = "2020-01-01" },
    { currency = "KWD", interval = "MONTH", amount = "3.725", valid_from = "2020-01-01" },
    { currency = "KWD", interval = "YEAR", amount = "37.250", valid_from = "2020-01-01" },
]

[[product]]
key = "sister"
name = "Sister"
kind = "LINKED"
price = [{ currency = "EUR", interval = "MONTH", amount = "5.00", valid_from = "2020-01-01" }]

[[product]]
key = "time"
name = "Time keeping"
kind = "ADD_ON"
trial = { days = 14, maximum = 5 }
price = [{ currency = "EUR", interval = "MONTH", amount = "7.00", valid_from = "2020-01-01" }]
"#;

/// The firm and its owner.
pub(crate) struct Firm {
    pub(crate) app: App,
    pub(crate) owner: Actor,
}

/// When tests about days begin: a month of 31 days begins then.
pub(crate) const START: &str = "2027-03-01T09:00:00Z";

/// Puts a catalogue into an installation.
pub(crate) async fn sell(app: &App, file: &str) -> Result<()> {
    let mut conn = migrate::connect(&app.config).await?;
    catalogue::apply(&mut conn, &Catalogue::parse(file)?, false).await?;
    Ok(())
}

/// Everything that `muster verify` finds broken.
pub(crate) async fn broken(app: &App) -> Result<Vec<verify::Finding>> {
    let mut conn = migrate::connect(&app.config).await?;
    let mut found = Vec::new();
    verify::run(&mut conn, None, |finding| {
        if finding.level == verify::Level::Broken {
            found.push(finding);
        }
    })
    .await?;
    Ok(found)
}

/// A wish for more, or fewer.
pub(crate) fn wish(change: QuoteKind, product: &str, quantity: i32) -> Wish {
    Wish {
        change,
        product_id: Some(product.to_owned()),
        quantity: Some(quantity),
        releases: Vec::new(),
        interval: None,
        currency: None,
    }
}

/// The code of the only refusal.
#[track_caller]
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result {
        Err(Error::Refused(list)) if list.len() == 1 => list[0].code.as_str(),
        other => panic!("not one refusal: {other:?}"),
    }
}

impl Firm {
    /// With one granted seat, which the owner holds, 19 % tax, and a worker.
    pub(crate) async fn new() -> Result<Self> {
        Self::with(|_| {}, START).await
    }

    /// With other settings, at another time.
    pub(crate) async fn with(configure: fn(&mut Config), start: &str) -> Result<Self> {
        let app = App::with(Options { configure, ..Options::default() }).await?;
        let start: jiff::Timestamp = start.parse()?;
        let now = app.db.now().await?;
        app.pass(SignedDuration::from_secs(start.as_second() - now.as_second()));
        sell(&app, CATALOGUE).await?;
        let owner = app.found("olivia@work.example", 1).await?;
        let owner = firm::signed_in(&app.db, &owner.email).await;
        let firm = Self { app, owner };
        firm.operate(|change| {
            domain::billing::operate::set_tax_rate(change, Some(domain::billing::TaxRate(190_000))).boxed()
        })
        .await?;
        Ok(firm)
    }

    /// The owner as of now: their session may have ended meanwhile.
    pub(crate) async fn actor(&self) -> Result<Actor> {
        Ok(Actor { now: self.app.db.now().await?, ..self.owner.clone() })
    }

    /// Does something as an operator.
    pub(crate) async fn operate<T>(
        &self,
        rule: impl for<'c> FnOnce(&'c mut change::Change) -> BoxFuture<'c, domain::error::Result<T>>,
    ) -> Result<T, Error> {
        let origin = domain::actor::Origin::operator();
        let mut change = change::Change::begin(&self.app.db, self.owner.account_id, Kind::System, origin, None).await?;
        let done = rule(&mut change).await?;
        change.commit().await?;
        Ok(done)
    }

    /// Prices a wish.
    pub(crate) async fn quote(&self, wish: &Wish) -> Result<Quote, Error> {
        let actor = Actor { now: self.app.db.now().await?, ..self.owner.clone() };
        let done = change::run(&self.app.db, &actor, Kind::Asked, None, |change, actor| {
            let wish = wish.clone();
            async move { quote::create(change, actor, &wish).await }.boxed()
        })
        .await?;
        let mut conn = self.app.db.pool.acquire().await?;
        Ok(quote::read(&mut conn, actor.account_id, done.outcome).await?.expect("it was made a moment ago"))
    }

    /// Confirms a quote.
    pub(crate) async fn confirm(&self, quote: &Quote) -> Result<ChangeId, Error> {
        self.confirm_as(quote.kind, quote.quote_id, None).await
    }

    /// Confirms a quote as one of some kind, under an idempotency key.
    pub(crate) async fn confirm_as(
        &self,
        kind: QuoteKind,
        quote: QuoteId,
        once: Option<&Once>,
    ) -> Result<ChangeId, Error> {
        let actor = Actor { now: self.app.db.now().await?, ..self.owner.clone() };
        let done = change::run(&self.app.db, &actor, Kind::Asked, once, |change, actor| {
            async move { license::change::confirm(change, actor, kind, quote).await }.boxed()
        });
        Ok(done.await?.outcome)
    }

    /// Quotes and confirms; answers once the worker is done.
    pub(crate) async fn do_now(&self, wish: &Wish) -> Result<LicenseChange> {
        let quote = self.quote(wish).await?;
        let id = self.confirm(&quote).await?;
        self.app.settle().await?;
        self.change(id).await
    }

    /// Adds licences; they must be there afterwards.
    pub(crate) async fn add(&self, product: &str, quantity: i32) -> Result<LicenseChange> {
        let done = self.do_now(&wish(QuoteKind::Add, product, quantity)).await?;
        ensure!(done.status == ChangeStatus::Applied, "{done:?}");
        Ok(done)
    }

    /// Schedules a removal, naming members.
    pub(crate) async fn remove(&self, product: &str, quantity: i32, named: &[MemberId]) -> Result<LicenseChange> {
        let releases = named
            .iter()
            .map(|member| Release { member_id: *member, successor_id: None, release_linked: true })
            .collect();
        self.do_now(&Wish { releases, ..wish(QuoteKind::Remove, product, quantity) }).await
    }

    /// A change as it stands.
    pub(crate) async fn change(&self, id: ChangeId) -> Result<LicenseChange> {
        let mut conn = self.app.db.pool.acquire().await?;
        let found = license::change::read_many(&mut conn, self.owner.account_id, &[id]).await?;
        found.into_iter().next().context("no such change")
    }

    /// Gives licences to members, or takes them.
    pub(crate) async fn allot(&self, direction: Direction, product: &str, members: &[MemberId]) -> Result<(), Error> {
        let actor = Actor { now: self.app.db.now().await?, ..self.owner.clone() };
        let done = change::run(&self.app.db, &actor, Kind::Asked, None, |change, actor| {
            let (product, members) = (product.to_owned(), members.to_vec());
            async move {
                let policy = ErrorPolicy::AllOrNothing;
                allocate::allot(change, actor, direction, &product, &members, policy).await
            }
            .boxed()
        });
        done.await.map(drop)
    }

    /// A pool as it stands.
    pub(crate) async fn pool(&self, product: &str) -> Result<Option<Pool>> {
        let mut conn = self.app.db.pool.acquire().await?;
        let pools = license::pools(&mut conn, self.owner.account_id).await?;
        Ok(pools.into_iter().find(|pool| pool.product.key == product))
    }

    /// Statements from the oldest on, the draft last.
    pub(crate) async fn statements(&self) -> Result<Vec<Statement>> {
        let mut conn = self.app.db.pool.acquire().await?;
        let arguments = Arguments { first: Some(100), ..Arguments::default() };
        let request = Request::new(&arguments, statement::ORDER)?;
        let page = statement::list(&mut conn, self.owner.account_id, &request).await?;
        let mut all: Vec<Statement> = page.rows.into_iter().map(|(_, one)| one).collect();
        all.reverse();
        Ok(all)
    }

    /// Those that were issued.
    pub(crate) async fn issued(&self) -> Result<Vec<Statement>> {
        Ok(self.statements().await?.into_iter().filter(|one| one.state != State::Draft).collect())
    }

    /// Moves the clock to an instant and does what is due by then.
    pub(crate) async fn at(&self, instant: &str) -> Result<()> {
        let instant: jiff::Timestamp = instant.parse()?;
        let now = self.app.db.now().await?;
        self.app.pass(SignedDuration::from_secs(instant.as_second() - now.as_second()));
        self.roll().await
    }

    /// Does what is due.
    pub(crate) async fn roll(&self) -> Result<()> {
        self.app.sweep("billing.periods").await?;
        self.app.sweep("billing.collect").await?;
        self.app.settle().await
    }

    /// Somebody joins.
    pub(crate) async fn join(&self, name: &str) -> Result<MemberId> {
        let email = format!("{name}@work.example");
        let invitation =
            firm::invite(&self.app.db, &self.actor().await?, &email, domain::permission::SystemRole::Standard).await;
        let token = firm::invitation_token(&self.app.db, self.owner.account_id, invitation).await;
        let accepted = self.app.accept(&token, "Jo", name).await?;
        ensure!(accepted.codes().is_empty(), "{}", accepted.body);
        Ok(accepted.text("/invitationAccept/memberId").parse()?)
    }

    /// Pays through the sandbox from now on.
    pub(crate) async fn pay_by(&self, method: &str) -> Result<()> {
        self.operate(|change| domain::billing::operate::set_gateway(change, "sandbox").boxed()).await?;
        let actor = self.actor().await?;
        let update = domain::billing::profile::Update { payment_method: Some(method.to_owned()), ..Default::default() };
        change::run(&self.app.db, &actor, Kind::Asked, None, |change, actor| {
            let update = update.clone();
            async move { domain::billing::profile::update(change, actor, &update).await }.boxed()
        })
        .await?;
        Ok(())
    }

    /// Charges that the sandbox has collected.
    pub(crate) fn collected(&self) -> usize {
        let folder = self.app.config.data_dir.join("sandbox");
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|end| end == "taken")).count()
    }

    /// Ends the test: every rule must hold.
    pub(crate) async fn finish(self) -> Result<()> {
        let found = broken(&self.app).await?;
        ensure!(found.is_empty(), "{found:#?}");
        self.app.finish().await
    }
}

/// A plan.
pub(crate) fn plan(interval: Interval, currency: &str) -> Wish {
    Wish {
        change: QuoteKind::Plan,
        product_id: None,
        quantity: None,
        releases: Vec::new(),
        interval: Some(interval),
        currency: Some(currency.to_owned()),
    }
}

/// An instant.
pub(crate) fn instant(text: &str) -> Timestamp {
    Timestamp(text.parse().unwrap())
}
