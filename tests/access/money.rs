//! What is bought in the firm, and what licence mutations succeed on.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use domain::catalogue::{self, Catalogue};
use domain::infra::migrate;
use serde_json::{Value, json};

use super::firm::Firm;
use crate::support::app::{App, PASSWORD, Person};

/// Ids of what somebody bought.
pub(crate) struct Bought {
    /// A quote that was not confirmed.
    pub(crate) quote: String,
    /// A change that waits for the period's end.
    pub(crate) change: String,
    /// The draft.
    pub(crate) statement: String,
}

/// Sells seats, an add-on, and for each caller a linked product to open, one to close, and an add-on to try.
pub(crate) async fn sell(app: &App) -> Result<()> {
    let mut file = String::new();
    let mut product = |key: &str, kind: &str, more: &str| {
        let price = r#"price = [{ currency = "EUR", interval = "MONTH", amount = "5.00", valid_from = "2020-01-01" },
                                { currency = "CHF", interval = "MONTH", amount = "5.00", valid_from = "2020-01-01" }]"#;
        let _ = writeln!(file, "[[product]]\nkey = \"{key}\"\nname = \"{key}\"\nkind = \"{kind}\"\n{more}\n{price}\n");
    };
    product("base", "BASE", "");
    product("time", "ADD_ON", "");
    for caller in 0..super::firm::CALLERS.len() {
        product(&format!("open{caller}"), "LINKED", "");
        product(&format!("close{caller}"), "LINKED", "");
        product(&format!("try{caller}"), "ADD_ON", "trial = { days = 14, maximum = 5 }");
    }
    let mut conn = migrate::connect(&app.config).await?;
    catalogue::apply(&mut conn, &Catalogue::parse(&file)?, false).await?;
    Ok(())
}

/// Prices a change; the quote's id.
async fn quote(app: &App, by: &Person, input: Value) -> Result<String> {
    let quoted = app.mutate(Some(&by.token), "licenseQuoteCreate", input, "quote { id }").await?;
    ensure!(quoted.codes().is_empty(), "{}", quoted.body);
    Ok(quoted.text("/licenseQuoteCreate/quote/id"))
}

fn of(change: &str, product: &str) -> Value {
    json!({ "change": change, "productId": product, "quantity": 1 })
}

/// Prices a change and confirms it; the change's id, once it is charged.
async fn change(app: &App, by: &Person, mutation: &str, input: Value) -> Result<String> {
    let confirm = confirmation(&quote(app, by, input).await?);
    let changed = app.mutate(Some(&by.token), mutation, confirm, "change { id }").await?;
    ensure!(changed.codes().is_empty(), "{}", changed.body);
    app.settle().await?;
    Ok(changed.text(&format!("/{mutation}/change/id")))
}

fn confirmation(quote: &str) -> Value {
    json!({ "quoteId": quote, "idempotencyKey": quote })
}

/// Buys two seats, gives one up again, and prices another.
pub(crate) async fn buy(app: &App, by: &Person) -> Result<Bought> {
    change(app, by, "licensesAdd", json!({ "change": "ADD", "productId": "base", "quantity": 2 })).await?;
    let scheduled = change(app, by, "licensesRemove", of("REMOVE", "base")).await?;
    let statements = app.graphql(Some(&by.token), "{ account { statements { nodes { id } } } }", Value::Null).await?;
    Ok(Bought {
        quote: quote(app, by, of("ADD", "base")).await?,
        change: scheduled,
        statement: statements.text("/account/statements/nodes/0/id"),
    })
}

/// An input with which a mutation of licences or money succeeds.
pub(crate) async fn prepare(firm: &Firm, mutation: &str, caller: usize) -> Result<Option<Value>> {
    let (app, owner) = (&firm.app, &firm.owner);
    app.settle().await?;
    Ok(Some(match mutation {
        "licenseAllocate" | "licenseDeallocate" => {
            let input = json!({ "productId": "time", "memberIds": [firm.colleague.member_id] });
            let other = if mutation == "licenseAllocate" { "licenseDeallocate" } else { "licenseAllocate" };
            change(app, owner, "licensesAdd", of("ADD", "time")).await?;
            app.mutate(Some(&owner.token), other, input.clone(), "__typename").await?;
            input
        }
        "licenseQuoteCreate" => {
            change(app, owner, "licensesAdd", of("ADD", "time")).await?;
            let holder = json!({ "productId": "time", "memberIds": [firm.colleague.member_id] });
            app.mutate(Some(&owner.token), "licenseAllocate", holder, "__typename").await?;
            let release = json!({ "memberId": firm.colleague.member_id, "successorId": owner.member_id });
            json!({ "change": "REMOVE", "productId": "time", "quantity": 1, "releases": [release] })
        }
        "licensesAdd" => confirmation(&quote(app, owner, of("ADD", "base")).await?),
        "licensesRemove" => {
            change(app, owner, "licensesAdd", of("ADD", "base")).await?;
            confirmation(&quote(app, owner, of("REMOVE", "base")).await?)
        }
        "productEnable" => confirmation(&quote(app, owner, of("ENABLE", &format!("open{caller}"))).await?),
        "productDisable" => {
            let product = format!("close{caller}");
            change(app, owner, "productEnable", of("ENABLE", &product)).await?;
            json!({ "productId": product })
        }
        "billingPlanChange" => {
            cancel_plans(app, owner).await?;
            confirmation(&quote(app, owner, json!({ "change": "PLAN", "currency": "CHF" })).await?)
        }
        "licenseChangeCancel" => {
            change(app, owner, "licensesAdd", of("ADD", "base")).await?;
            json!({ "changeId": change(app, owner, "licensesRemove", of("REMOVE", "base")).await? })
        }
        "trialStart" => json!({ "productId": format!("try{caller}"), "quantity": 1 }),
        "trialOptOut" | "trialOptIn" => {
            let input = json!({ "productId": format!("try{caller}"), "quantity": 1 });
            app.mutate(Some(&owner.token), "trialStart", input, "__typename").await?;
            json!({ "productId": format!("try{caller}") })
        }
        "billingProfileUpdate" => json!({ "name": super::firm::fresh_name() }),
        "accountCancel" => json!({ "password": PASSWORD }),
        "accountResume" => {
            for person in [owner, &firm.stranger] {
                app.mutate(Some(&person.token), "accountCancel", json!({ "password": PASSWORD }), "__typename").await?;
            }
            json!({})
        }
        _ => return Ok(None),
    }))
}

/// Takes back every plan that waits.
async fn cancel_plans(app: &App, owner: &Person) -> Result<()> {
    let list = "{ account { licenseChanges(first: 100) { nodes { id kind status } } } }";
    let all = app.graphql(Some(&owner.token), list, Value::Null).await?;
    for change in all.data("/account/licenseChanges/nodes").as_array().into_iter().flatten() {
        if change["kind"] == "PLAN" && change["status"] == "SCHEDULED" {
            let input = json!({ "changeId": change["id"] });
            app.mutate(Some(&owner.token), "licenseChangeCancel", input, "__typename").await?;
        }
    }
    Ok(())
}
