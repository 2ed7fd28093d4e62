//! The worker dies between every two steps of a charge and of a period's end: what was paid is paid once, and what was bought comes once.

use anyhow::Result;
use domain::infra::migrate;
use serde_json::json;

use super::world::CATALOGUE;
use crate::support::app::{Options, Person};
use crate::support::process::{Fleet, Process};

/// Where the worker dies, and what the sandbox plays.
const POINTS: [(&str, &str); 6] = [
    ("charge.before_sent", "sandbox_ok"),
    ("charge.after_sent", "sandbox_ok"),
    ("charge.before_call", "sandbox_ok"),
    ("charge.after_call", "sandbox_ok"),
    ("charge.before_recorded", "sandbox_ok"),
    ("charge.after_recorded", "sandbox_lost"),
];

struct Shop {
    fleet: Fleet,
    api: Process,
    owner: Person,
}

impl Shop {
    async fn open() -> Result<Self> {
        let mut fleet = Fleet::new(true, Options::default()).await?;
        let (api, worker) = (fleet.start("api").await?, fleet.start("worker").await?);
        let mut conn = migrate::connect(&fleet.app.config).await?;
        domain::catalogue::apply(&mut conn, &domain::catalogue::Catalogue::parse(CATALOGUE)?, false).await?;
        let owner = fleet.app.found("olivia@work.example", 3).await?;
        fleet.app.settle().await?;
        worker.stop().await?;
        fleet.run(&["billing", "gateway", &owner.account_id, "sandbox"]).await?;
        Ok(Self { fleet, api, owner })
    }

    async fn mutate(
        &self,
        mutation: &str,
        input: serde_json::Value,
        fields: &str,
    ) -> Result<crate::support::app::Answer> {
        self.fleet.app.mutate_at(&self.api.url, Some(&self.owner.token), mutation, input, fields).await
    }

    /// Asks for three seats.
    async fn buy(&self) -> Result<()> {
        let input = json!({ "change": "ADD", "productId": "base", "quantity": 3 });
        let quote =
            self.mutate("licenseQuoteCreate", input, "quote { id }").await?.text("/licenseQuoteCreate/quote/id");
        let input = json!({ "quoteId": quote, "idempotencyKey": quote });
        let asked = self.mutate("licensesAdd", input, "change { id status }").await?;
        anyhow::ensure!(asked.codes().is_empty(), "{}", asked.body);
        Ok(())
    }

    fn taken(&self) -> usize {
        let files = std::fs::read_dir(self.fleet.app.config.data_dir.join("sandbox")).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|end| end == "taken")).count()
    }
}

/// One purchase, in which the worker dies at a point; the next worker takes over when the lease of the dead one's job has lapsed.
async fn die_once(point: &str, method: &str) -> Result<()> {
    let mut shop = Shop::open().await?;
    shop.mutate("billingProfileUpdate", json!({ "paymentMethod": method }), "__typename").await?;
    shop.buy().await?;
    let faulty = shop.fleet.start_faulty("worker", &format!("{point}=return(abort)")).await?;
    faulty.aborted().await?;
    let worker = shop.fleet.start("worker").await?;
    for _ in 0..3_000 {
        if shop.fleet.app.look("SELECT 1 FROM license_pool WHERE product_id = 'base' AND paid = 3").await?.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    shop.fleet.app.settle().await?;
    let paid = shop.fleet.app.look("SELECT paid FROM license_pool WHERE product_id = 'base'").await?;
    assert_eq!((paid.as_deref(), shop.taken()), (Some("3"), 1), "{point}");
    let found = super::world::broken(&shop.fleet.app).await?;
    assert!(found.is_empty(), "{point}: {found:#?}");
    shop.fleet.finish(vec![shop.api, worker]).await
}

#[tokio::test]
async fn a_worker_that_dies_between_any_two_steps_charges_once() -> Result<()> {
    // Side by side: most of the time is the wait for a lease to lapse.
    futures::future::try_join_all(POINTS.iter().map(|(point, method)| die_once(point, method))).await?;
    println!("{} deaths, each with one charge", POINTS.len());
    Ok(())
}

#[tokio::test]
async fn an_api_that_dies_around_a_confirmation_is_asked_again_under_the_same_key() -> Result<()> {
    let mut shop = Shop::open().await?;
    for (bought, point) in ["change.before_commit", "change.after_commit"].iter().enumerate() {
        let input = json!({ "change": "ADD", "productId": "base", "quantity": 3 });
        let quote =
            shop.mutate("licenseQuoteCreate", input, "quote { id }").await?.text("/licenseQuoteCreate/quote/id");
        let input = json!({ "quoteId": quote, "idempotencyKey": quote });
        let faulty = shop.fleet.start_faulty("api", &format!("{point}=return(abort)")).await?;
        let token = Some(shop.owner.token.as_str());
        let lost = shop.fleet.app.mutate_at(&faulty.url, token, "licensesAdd", input.clone(), "__typename").await;
        assert!(lost.is_err(), "{point}: {lost:?}");
        faulty.aborted().await?;
        let asked = shop.mutate("licensesAdd", input, "change { id status }").await?;
        assert_eq!(asked.codes(), Vec::<String>::new(), "{point}: {}", asked.body);
        let worker = shop.fleet.start("worker").await?;
        shop.fleet.app.settle().await?;
        worker.stop().await?;
        let paid = shop.fleet.app.look("SELECT paid FROM license_pool WHERE product_id = 'base'").await?;
        let changes = shop.fleet.app.look("SELECT count(*) FROM license_change").await?;
        let wanted = (Some((3 * (bought + 1)).to_string()), Some((bought + 1).to_string()), bought + 1);
        assert_eq!((paid, changes, shop.taken()), wanted, "{point}");
    }
    let found = super::world::broken(&shop.fleet.app).await?;
    assert!(found.is_empty(), "{found:#?}");
    shop.fleet.finish(vec![shop.api]).await
}

#[tokio::test]
async fn a_sweeper_that_dies_within_a_periods_end_leaves_it_to_the_next() -> Result<()> {
    let mut shop = Shop::open().await?;
    shop.buy().await?;
    let worker = shop.fleet.start("worker").await?;
    for _ in 0..3_000 {
        if shop.fleet.app.look("SELECT 1 FROM billing_period").await?.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    worker.stop().await?;
    let later = shop.fleet.app.look("SELECT to_char(ends_at AT TIME ZONE 'UTC' + interval '70 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM billing_period").await?.unwrap();
    for point in ["roll.after_effects", "roll.before_end", "change.before_commit", "change.after_commit"] {
        shop.fleet.extra.push(("FAILPOINTS", format!("{point}=return(abort)")));
        let died = shop.fleet.run(&["sweeps", "run", "billing.periods", "--at", &later]).await;
        assert!(died.is_err(), "{point}: {died:?}");
        shop.fleet.extra.pop();
    }
    shop.fleet.run(&["sweeps", "run", "billing.periods", "--at", &later]).await?;
    let statements = shop.fleet.app.look("SELECT count(*) FROM statement WHERE state <> 'DRAFT'").await?;
    assert_eq!(statements.as_deref(), Some("3"));
    let found = super::world::broken(&shop.fleet.app).await?;
    assert!(found.is_empty(), "{found:#?}");
    let worker = shop.fleet.start("worker").await?;
    shop.fleet.app.settle().await?;
    shop.fleet.finish(vec![shop.api, worker]).await
}
