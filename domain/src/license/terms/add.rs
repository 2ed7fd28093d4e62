//! More licences, and linked products that are opened.

use sqlx::PgConnection;

use super::ground::{self, Ground, refused};
use super::next::next_statement;
use super::{Line, QuoteKind, Terms, Wish};
use crate::billing::period::{self, Period};
use crate::billing::{self, PoolState, proration, statement};
use crate::catalogue::product::ProductKind;
use crate::change::Change;
use crate::error::{Code, Error, Refused, Result};
use crate::id::AccountId;
use crate::infra::clock::{Date, Timestamp};
use crate::infra::db::Db;
use crate::infra::money::{Currency, Money};
use crate::license::BASE;

/// Licences of a product that an account has at most.
const MAX_LICENCES: i32 = 1_000_000;

pub(super) async fn add(change: &mut Change, ground: &Ground<'_>) -> Result<Terms> {
    let product = ground.product()?;
    let enabling = ground.wish.change == QuoteKind::Enable;
    let kind = sold(change.conn(), product).await?;
    let pool = ground.pools.get(product);
    let base = &ground.pools[BASE];
    let wanted: Vec<(String, i32)> = match (kind, enabling) {
        (ProductKind::Linked, true) if pool.is_some_and(|pool| pool.closing) => {
            return Err(refused(Code::ProductClosing));
        }
        (ProductKind::Linked, true) if pool.is_some() => return Err(refused(Code::ProductOpen)),
        // Seats that are about to be removed get none: those would stay when they go.
        (ProductKind::Linked, true) => vec![(product.to_owned(), base.owned() - base.scheduled)],
        (ProductKind::Linked, false) => return Err(refused(Code::FollowsBase)),
        (_, true) => return Err(refused(Code::ProductOpen)),
        (ProductKind::AddOn, false) if pool.is_some_and(|pool| pool.closing) => {
            return Err(refused(Code::ProductClosing));
        }
        (ProductKind::AddOn, false) => vec![(product.to_owned(), ground.quantity()?)],
        (ProductKind::Base, false) => {
            let quantity = ground.quantity()?;
            with_linked(ground, quantity)
        }
    };
    for (key, quantity) in &wanted {
        let owned = ground.pools.get(key).map_or(0, PoolState::owned);
        if owned + quantity > MAX_LICENCES {
            return Err(Refused::new(Code::OutOfRange).at("quantity").into());
        }
    }
    let mut terms = ground.terms(ground.today);
    terms.lines = lines(change.conn(), ground, &wanted).await?;
    let after = |key: &str| wanted.iter().find(|(of, _)| of == key).map_or(0, |(_, quantity)| *quantity);
    terms.next =
        next_statement(change, ground, &terms, after, &ground.period.currency, ground.billing.interval).await?;
    Ok(terms)
}

/// Seats, and as many licences of each linked product.
fn with_linked(ground: &Ground<'_>, seats: i32) -> Vec<(String, i32)> {
    let linked = ground.linked().map(|key| (key.clone(), seats));
    std::iter::once((BASE.to_owned(), seats)).chain(linked).collect()
}

/// What adding seats would cost at this moment, with tax. None while nobody can add them: they have no
/// price, are too many, or the end of a period is being dealt with. Locks nothing; a quote says what is charged.
pub async fn cost_of_seats(
    db: &Db,
    conn: &mut PgConnection,
    account: AccountId,
    now: Timestamp,
    seats: i32,
) -> Result<Option<Money>> {
    match reckon_seats(db, conn, (account, now), seats).await {
        Ok(cost) => Ok(Some(cost)),
        Err(Error::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn reckon_seats(db: &Db, conn: &mut PgConnection, at: (AccountId, Timestamp), seats: i32) -> Result<Money> {
    let wish = Wish {
        change: QuoteKind::Add,
        product_id: Some(BASE.to_owned()),
        quantity: Some(seats),
        releases: Vec::new(),
        interval: None,
        currency: None,
    };
    let billing = billing::read(conn, at.0, db.billing.tax_rate.0).await?;
    let ground = ground::survey(conn, at, &wish, billing, None).await?;
    sold(conn, BASE).await?;
    let lines = lines(conn, &ground, &with_linked(&ground, ground.quantity()?)).await?;
    let minor = lines.iter().map(|line| line.net + line.tax).sum();
    Ok(Money { minor, currency: Currency::parse(&ground.period.currency)? })
}

/// The kind of a product that is sold.
async fn sold(conn: &mut PgConnection, product: &str) -> Result<ProductKind> {
    let row = sqlx::query!(
        r#"SELECT kind AS "kind: ProductKind", withdrawn_at IS NOT NULL AS "withdrawn!" FROM product WHERE product_id = $1"#,
        product
    )
    .fetch_optional(conn)
    .await?;
    match row {
        None => Err(refused(Code::NotFound)),
        Some(row) if row.withdrawn => Err(refused(Code::NotForSale)),
        Some(row) => Ok(row.kind),
    }
}

/// What additions cost for the rest of the period, in the order given: each line's tax is its part of the tax on the statement's sum.
async fn lines(conn: &mut PgConnection, ground: &Ground<'_>, wanted: &[(String, i32)]) -> Result<Vec<Line>> {
    let draft = statement::draft(conn, ground.account).await?;
    let rate = ground.billing.tax_rate;
    let mut taxed = draft.and_then(|draft| draft.taxed.get(&rate).copied()).unwrap_or_default();
    let period = &ground.period;
    let mut lines = Vec::with_capacity(wanted.len());
    for (product, quantity) in wanted {
        let (unit_price, before) =
            price_in(conn, ground.account, (period, ground.opens_period), product, ground.today).await?;
        let share = proration::share(unit_price, *quantity, period.days_from(ground.today));
        let net = proration::cost(before, share, period.days());
        let tax = proration::tax(taxed, net, rate);
        taxed += net;
        lines.push(Line {
            product_id: product.clone(),
            quantity: *quantity,
            unit_price,
            from_on: ground.today,
            until_on: period.ends_on,
            of_days: period.days(),
            before,
            share,
            net,
            tax,
        });
    }
    Ok(lines)
}

/// A product's price in a period, and the numerator so far: the price that held when the period began, or since it is sold.
pub(in crate::license) async fn price_in(
    conn: &mut PgConnection,
    account: AccountId,
    (period, unopened): (&Period, bool),
    product: &str,
    today: Date,
) -> Result<(i64, i64)> {
    if !unopened && let Some(known) = period::product(conn, account, period.period_no, product).await? {
        return Ok(known);
    }
    let keys = [product.to_owned()];
    for day in [period.starts_on, today] {
        let prices = billing::prices(conn, &keys, &period.currency, period.interval, day).await?;
        if let Some(price) = prices.get(product) {
            return Ok((*price, 0));
        }
    }
    Err(refused(Code::NotForSale))
}
