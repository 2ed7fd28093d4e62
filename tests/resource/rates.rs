//! Rates: set, removed, and which one holds.

use anyhow::Result;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::world::World;
use crate::support::app::Person;

const EFFECTIVE: &str =
    "query ($member: ID!, $resource: ID!) { effectiveRate(memberId: $member, resourceId: $resource) {
    decidedBy resourceRate { groupId rate { amount currency } group { name } } } }";

async fn set(world: &World, resource: &str, group: &str, amount: Value, currency: &str) -> Result<Vec<String>> {
    let rate = json!({ "amount": amount, "currency": currency });
    let input = json!({ "resourceId": resource, "groupId": group, "rate": rate });
    Ok(world.act(&world.owner, "resourceRateSet", input).await?.codes())
}

/// Amount, group and rule of the rate that holds.
async fn effective(world: &World, of: &Person, resource: &str) -> Result<Value> {
    let variables = json!({ "member": of.member_id, "resource": resource });
    let answer = world.app.graphql(Some(&world.owner.token), EFFECTIVE, variables).await?;
    let found = answer.data("/effectiveRate");
    let rate = &found["resourceRate"];
    Ok(if found.is_null() {
        Value::Null
    } else {
        json!([rate["rate"]["amount"], rate["group"]["name"], found["decidedBy"]])
    })
}

#[tokio::test]
async fn the_highest_rate_holds_then_the_oldest() -> Result<()> {
    let world = World::new().await?;
    let matter = world.matter("7").await?;
    let partners = world.group("Partners", &[&world.ann]).await?;
    let tax = world.group("Tax", &[&world.ann, &world.ben]).await?;
    let board = world.group("Board", &[&world.ann]).await?;
    assert!(effective(&world, &world.ann, &matter).await?.is_null());
    assert!(set(&world, &matter, &tax, json!("250.5"), "USD").await?.is_empty());
    assert_eq!(effective(&world, &world.ann, &matter).await?, json!(["250.50", "Tax", "ONLY"]));
    world.app.pass(SignedDuration::from_secs(60));
    assert!(set(&world, &matter, &partners, json!(400), "USD").await?.is_empty());
    assert_eq!(effective(&world, &world.ann, &matter).await?, json!(["400.00", "Partners", "HIGHEST"]));
    assert_eq!(effective(&world, &world.ben, &matter).await?, json!(["250.50", "Tax", "ONLY"]));
    world.app.pass(SignedDuration::from_secs(60));
    assert!(set(&world, &matter, &board, json!("400.00"), "USD").await?.is_empty());
    assert_eq!(effective(&world, &world.ann, &matter).await?, json!(["400.00", "Partners", "OLDEST"]));

    let exclude = |excluded: bool| json!({ "groupId": partners, "excludedFromCustomRates": excluded });
    world.on_group("groupUpdate", exclude(true)).await?;
    assert_eq!(effective(&world, &world.ann, &matter).await?, json!(["400.00", "Board", "HIGHEST"]), "it is excluded");
    world.on_group("groupUpdate", exclude(false)).await?;
    world.on_group("groupArchive", json!({ "groupId": board })).await?;
    world.on_group("groupArchive", json!({ "groupId": partners })).await?;
    assert_eq!(
        effective(&world, &world.ann, &matter).await?,
        json!(["250.50", "Tax", "ONLY"]),
        "archived ones do not count"
    );
    let removed = world.done("resourceRateRemove", json!({ "resourceId": matter, "groupId": tax })).await?;
    assert_eq!(removed.data("/resourceRateRemove/resource/rates").as_array().map(Vec::len), Some(2));
    assert!(effective(&world, &world.ann, &matter).await?.is_null());
    world.app.finish().await
}

#[tokio::test]
async fn a_rate_is_an_amount_of_the_one_currency_of_the_resource() -> Result<()> {
    let world = World::new().await?;
    let matter = world.matter("7").await?;
    let (tax, board) = (world.group("Tax", &[&world.ann]).await?, world.group("Board", &[&world.ann]).await?);
    for (amount, currency, code) in [
        (json!("1"), "usd", "INVALID_CURRENCY"),
        (json!("1"), "XXX", "INVALID_CURRENCY"),
        (json!("1.005"), "USD", "INVALID_AMOUNT"),
        (json!("1.5"), "JPY", "INVALID_AMOUNT"),
        (json!("much"), "USD", "INVALID_AMOUNT"),
        (json!("-1"), "USD", "OUT_OF_RANGE"),
    ] {
        assert_eq!(set(&world, &matter, &tax, amount.clone(), currency).await?, [code], "{amount} {currency}");
    }
    assert!(set(&world, &matter, &tax, json!("0"), "EUR").await?.is_empty());
    assert_eq!(set(&world, &matter, &board, json!("5"), "USD").await?, ["CURRENCY_MISMATCH"]);
    assert!(set(&world, &matter, &tax, json!("5"), "USD").await?.is_empty(), "the only one may change its currency");
    assert!(set(&world, &matter, &board, json!("6"), "USD").await?.is_empty());
    assert_eq!(set(&world, &matter, &tax, json!("5"), "EUR").await?, ["CURRENCY_MISMATCH"]);
    let other = world.matter("8").await?;
    assert!(set(&world, &other, &tax, json!("5"), "JPY").await?.is_empty(), "another resource, another currency");

    world.on_group("groupUpdate", json!({ "groupId": board, "excludedFromCustomRates": true })).await?;
    assert_eq!(set(&world, &matter, &board, json!("7"), "USD").await?, ["GROUP_EXCLUDED"]);
    world.on_group("groupArchive", json!({ "groupId": board })).await?;
    assert_eq!(set(&world, &matter, &board, json!("7"), "USD").await?, ["ARCHIVED"]);
    world.app.finish().await
}

#[tokio::test]
async fn two_who_set_rates_in_two_currencies_do_not_both_succeed() -> Result<()> {
    let world = World::new().await?;
    let groups = futures::future::try_join_all(["A", "B"].map(|name| world.group(name, &[]))).await?;
    for round in 0..5 {
        let matter = world.matter(&round.to_string()).await?;
        let both = tokio::try_join!(
            set(&world, &matter, &groups[0], json!("1"), "USD"),
            set(&world, &matter, &groups[1], json!("1"), "EUR"),
        )?;
        let refused: Vec<String> = [both.0, both.1].concat();
        assert_eq!(refused, ["CURRENCY_MISMATCH"]);
    }
    world.app.finish().await
}

#[tokio::test]
async fn rates_are_for_readers_of_resources() -> Result<()> {
    let world = World::new().await?;
    let matter = world.matter("7").await?;
    let tax = world.group("Tax", &[&world.ann]).await?;
    set(&world, &matter, &tax, json!("5"), "USD").await?;
    let variables = json!({ "member": world.ann.member_id, "resource": matter });
    let own = world.app.graphql(Some(&world.ann.token), EFFECTIVE, variables).await?;
    assert_eq!(own.errors(), ["FORBIDDEN"]);
    let input = json!({ "resourceId": matter, "groupId": tax, "rate": { "amount": "x", "currency": "y" } });
    assert_eq!(world.act(&world.ann, "resourceRateSet", input).await?.codes(), ["NOT_PERMITTED"]);
    world.app.finish().await
}
