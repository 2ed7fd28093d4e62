//! What is sold, and for how much.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sqlx::PgConnection;

use super::Difference;
use crate::billing::calendar::Interval;
use crate::infra::clock::Date;
use crate::infra::money::{Currency, Money};
use crate::license::BASE;

/// Minor units that a licence costs for an interval at most: the sums of all that an account can hold stay within 64 bits.
const MAX_PRICE: i64 = 999_999_999;

/// What kind of product something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, serde::Serialize, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProductKind {
    /// Held by everybody who can sign in.
    Base,
    /// A sister product: as many licences as base ones, for those who hold a base one.
    Linked,
    /// For active members, in any number.
    AddOn,
}

impl ProductKind {
    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base => "BASE",
            Self::Linked => "LINKED",
            Self::AddOn => "ADD_ON",
        }
    }
}

/// A product as it is named to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its key in the catalogue, like `base`.
    pub key: String,
    /// As people see it.
    pub name: String,
    /// What kind it is.
    pub kind: ProductKind,
}

/// A product of the operator's file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoldProduct {
    /// Small letters, digits, `_` and `-`.
    pub key: String,
    /// As people see it.
    pub name: String,
    /// `BASE` (there is one, with the key `base`), `LINKED` or `ADD_ON`.
    pub kind: ProductKind,
    /// How it can be tried, if it can; add-ons only.
    #[serde(default)]
    pub trial: Option<TrialTerms>,
    /// What it costs.
    #[serde(default, rename = "price")]
    pub prices: Vec<SoldPrice>,
}

/// How a product can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialTerms {
    /// How long, 1 to 365.
    pub days: i32,
    /// Licences at most.
    pub maximum: i32,
}

/// What a licence costs from a day on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoldPrice {
    /// ISO 4217.
    pub currency: String,
    /// `MONTH` or `YEAR`.
    pub interval: Interval,
    /// A decimal number, like `12.50`.
    pub amount: String,
    /// For periods that begin on that day or later.
    pub valid_from: Date,
}

impl SoldPrice {
    fn key(&self) -> PriceKey {
        (self.currency.clone(), self.interval.as_str().to_owned(), self.valid_from)
    }

    fn minor(&self) -> Option<i64> {
        let money = Money::parse(&self.amount, Currency::parse(&self.currency).ok()?).ok()?;
        (0..=MAX_PRICE).contains(&money.minor).then_some(money.minor)
    }
}

type PriceKey = (String, String, Date);

/// Everything that is wrong with the products of a file.
pub(super) fn faults(products: &[SoldProduct]) -> Vec<String> {
    let (mut faults, mut seen) = (Vec::new(), BTreeSet::new());
    for product in products {
        let key = &product.key;
        let mut fault = |text: String| faults.push(format!("product {key:?}: {text}"));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if key.is_empty()
            || key.len() > 50
            || !key.starts_with(|c: char| c.is_ascii_lowercase())
            || !key.chars().all(plain)
        {
            fault("a key has up to 50 small letters, digits, _ and -, and begins with a letter".to_owned());
        }
        if !seen.insert(key) {
            fault("it is declared twice".to_owned());
        }
        if product.name.trim().is_empty() || product.name.chars().count() > 100 {
            fault("a name has 1 to 100 characters".to_owned());
        }
        if (product.kind == ProductKind::Base) != (key == BASE) {
            fault(format!("there is one product of the kind BASE, and its key is {BASE:?}"));
        }
        match product.trial {
            Some(_) if product.kind != ProductKind::AddOn => fault("only an add-on can be tried".to_owned()),
            Some(trial) if !(1..=365).contains(&trial.days) || !(1..=100_000).contains(&trial.maximum) => {
                fault("a trial has 1 to 365 days and 1 to 100000 licences".to_owned());
            }
            _ => {}
        }
        let mut prices = BTreeSet::new();
        for price in &product.prices {
            let of = format!("the price of {} in {} from {}", price.interval, price.currency, price.valid_from.0);
            if price.minor().is_none() {
                fault(format!(
                    "{of} is no amount of a currency that can be paid with, like \"12.50\", below 10 million"
                ));
            }
            if !prices.insert(price.key()) {
                fault(format!("{of} is declared twice"));
            }
        }
    }
    faults
}

/// What was declared before.
struct Stored {
    name: String,
    kind: ProductKind,
    trial: Option<TrialTerms>,
    withdrawn: bool,
    accounts: i64,
    prices: BTreeMap<PriceKey, i64>,
}

async fn stored(conn: &mut PgConnection) -> sqlx::Result<BTreeMap<String, Stored>> {
    let products = sqlx::query!(
        r#"SELECT product_id, name, kind AS "kind: ProductKind", trial_days, trial_maximum, withdrawn_at IS NOT NULL AS "withdrawn!",
                  (SELECT count(*) FROM license_pool l WHERE l.product_id = p.product_id) AS "accounts!"
           FROM product p"#
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut stored: BTreeMap<String, Stored> = products
        .into_iter()
        .map(|row| {
            let trial = row.trial_days.zip(row.trial_maximum).map(|(days, maximum)| TrialTerms { days, maximum });
            let (name, kind, withdrawn, accounts) = (row.name, row.kind, row.withdrawn, row.accounts);
            (row.product_id, Stored { name, kind, trial, withdrawn, accounts, prices: BTreeMap::new() })
        })
        .collect();
    let prices = sqlx::query!(
        r#"SELECT product_id, currency, billing_interval, valid_from AS "valid_from: Date", amount FROM price"#
    );
    for row in prices.fetch_all(conn).await? {
        if let Some(product) = stored.get_mut(&row.product_id) {
            product.prices.insert((row.currency, row.billing_interval, row.valid_from), row.amount);
        }
    }
    Ok(stored)
}

/// What a file's products change, and what is wrong with them beside what is there: a kind that differs, and a price that is not what it
/// was for a day on which it holds already. Prices that the file leaves out stay.
pub(super) async fn differences(
    conn: &mut PgConnection,
    products: &[SoldProduct],
) -> sqlx::Result<(Vec<Difference>, Vec<String>)> {
    let stored = stored(conn).await?;
    let (mut differences, mut faults) = (Vec::new(), Vec::new());
    for product in products {
        let name = format!("product {}", product.key);
        let Some(before) = stored.get(&product.key) else {
            differences.push(Difference::Added(name));
            continue;
        };
        if before.kind != product.kind {
            faults.push(format!(
                "product {:?}: its kind is {} and stays so; declare another one",
                product.key,
                before.kind.as_str()
            ));
        }
        let mut what = Vec::new();
        if before.name != product.name {
            what.push("name");
        }
        if before.trial != product.trial {
            what.push("trial");
        }
        for price in &product.prices {
            match (before.prices.get(&price.key()), price.minor()) {
                (Some(was), Some(now)) if *was != now => faults.push(format!(
                    "product {:?}: the price of {} in {} from {} is never changed; declare one with a later valid_from",
                    product.key, price.interval, price.currency, price.valid_from.0
                )),
                (Some(_), _) => {}
                (None, _) => what.push("price"),
            }
        }
        what.dedup();
        if before.withdrawn {
            differences.push(Difference::Added(name));
        } else if !what.is_empty() {
            differences.push(Difference::Changed(name, what));
        }
    }
    let declared: BTreeSet<&str> = products.iter().map(|product| product.key.as_str()).collect();
    let gone =
        stored.iter().filter(|(key, before)| *key != BASE && !before.withdrawn && !declared.contains(key.as_str()));
    differences.extend(gone.map(|(key, before)| Difference::NoLongerSold(format!("product {key}"), before.accounts)));
    Ok((differences, faults))
}

/// Writes a file's products and their new prices. What the file leaves out is no longer sold; who has it keeps it.
pub(super) async fn write(conn: &mut PgConnection, products: &[SoldProduct]) -> sqlx::Result<()> {
    for product in products {
        sqlx::query!(
            "INSERT INTO product (product_id, kind, name, trial_days, trial_maximum) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (product_id) DO UPDATE SET name = $3, trial_days = $4, trial_maximum = $5, withdrawn_at = NULL",
            product.key,
            product.kind.as_str(),
            product.name,
            product.trial.map(|trial| trial.days),
            product.trial.map(|trial| trial.maximum),
        )
        .execute(&mut *conn)
        .await?;
        for price in &product.prices {
            sqlx::query!(
                "INSERT INTO price (product_id, currency, billing_interval, valid_from, amount) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT DO NOTHING",
                product.key,
                price.currency,
                price.interval.as_str(),
                price.valid_from as Date,
                price.minor().expect("the file was checked"),
            )
            .execute(&mut *conn)
            .await?;
        }
    }
    let keys: Vec<String> = products.iter().map(|product| product.key.clone()).collect();
    sqlx::query!(
        "UPDATE product SET withdrawn_at = now() WHERE product_id <> $2 AND product_id <> ALL($1) AND withdrawn_at IS NULL",
        &keys,
        BASE,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A product with what it costs, as accounts see it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The product.
    pub product: Product,
    /// How it can be tried, if it can.
    pub trial: Option<TrialTerms>,
    /// What it costs, by currency, interval and day.
    pub prices: Vec<OfferedPrice>,
}

/// What a licence costs.
#[derive(Clone, Debug)]
pub struct OfferedPrice {
    /// ISO 4217.
    pub currency: String,
    /// For which interval.
    pub interval: Interval,
    /// For periods that begin on that day or later, until the next price holds.
    pub valid_from: Date,
    /// Minor units.
    pub amount: i64,
}

/// Everything that is sold, by key: two statements.
pub async fn offers(conn: &mut PgConnection) -> sqlx::Result<Vec<Offer>> {
    let products = sqlx::query!(
        r#"SELECT product_id, name, kind AS "kind: ProductKind", trial_days, trial_maximum FROM product
           WHERE withdrawn_at IS NULL ORDER BY product_id"#
    )
    .fetch_all(&mut *conn)
    .await?;
    let prices = sqlx::query!(
        r#"SELECT product_id, currency, billing_interval AS "interval: Interval", valid_from AS "valid_from: Date", amount FROM price
           ORDER BY product_id, currency, billing_interval, valid_from"#
    )
    .fetch_all(conn)
    .await?;
    let mut by_product: BTreeMap<String, Vec<OfferedPrice>> = BTreeMap::new();
    for row in prices {
        let price = OfferedPrice {
            currency: row.currency,
            interval: row.interval,
            valid_from: row.valid_from,
            amount: row.amount,
        };
        by_product.entry(row.product_id).or_default().push(price);
    }
    let offers = products.into_iter().map(|row| Offer {
        prices: by_product.remove(&row.product_id).unwrap_or_default(),
        trial: row.trial_days.zip(row.trial_maximum).map(|(days, maximum)| TrialTerms { days, maximum }),
        product: Product { key: row.product_id, name: row.name, kind: row.kind },
    });
    Ok(offers.collect())
}
