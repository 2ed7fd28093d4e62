//! Add-ons that an account tries: for nothing until the trial's end, then for money, unless it does not want to go on.

use jiff::SignedDuration;
use serde_json::json;
use sqlx::PgConnection;

use super::terms::{self, Line, Terms};
use super::{change as license_change, lock};
use crate::actor::{Action, Actor, Target};
use crate::billing::calendar;
use crate::billing::notice::{self, Notice};
use crate::billing::period::{self, Period};
use crate::billing::statement::{self, LineKind, NewLine};
use crate::billing::{self, Billing, proration};
use crate::change::Change;
use crate::error::{Code, Error, Refused, Result};
use crate::event::{EventKind, NewEvent};
use crate::id::{AccountId, MemberId};
use crate::infra::clock::{Date, Timestamp};

/// How long before its end people are told.
const NOTICE: SignedDuration = SignedDuration::from_hours(3 * 24);

fn refused(code: Code) -> Error {
    Refused::new(code).at("productId").into()
}

/// Starts a trial: once per account and product.
///
/// # Errors
/// NOT_PERMITTED; at `productId` NOT_FOUND, NOT_FOR_SALE, NOT_TRIALABLE, TRIAL_USED; at `quantity` OUT_OF_RANGE.
pub async fn start(change: &mut Change, actor: &Actor, product: &str, quantity: i32) -> Result<()> {
    actor.may(Action::ManageLicenses, Target::Account)?;
    let billing = billing::lock(change).await?;
    lock(change).await?;
    change.standing(actor).await?.may(Action::ManageLicenses, Target::Account)?;
    let (account, now) = (change.account(), change.now());
    let sold = sqlx::query!(
        r#"SELECT trial_days, trial_maximum, withdrawn_at IS NOT NULL AS "withdrawn!",
                  EXISTS (SELECT FROM license_trial t WHERE t.account_id = $2 AND t.product_id = p.product_id) AS "used!"
           FROM product p WHERE product_id = $1"#,
        product,
        account.0,
    )
    .fetch_optional(change.conn())
    .await?;
    let sold = sold.ok_or_else(|| refused(Code::NotFound))?;
    let (Some(days), Some(maximum), false) = (sold.trial_days, sold.trial_maximum, sold.withdrawn) else {
        return Err(refused(if sold.withdrawn { Code::NotForSale } else { Code::NotTrialable }));
    };
    if sold.used {
        return Err(refused(Code::TrialUsed));
    }
    if !(1..=maximum).contains(&quantity) {
        return Err(Refused::new(Code::OutOfRange).at("quantity").into());
    }
    // What it will cost must be known before it begins.
    let today = Date::at(now, &billing.time_zone);
    let keys = [product.to_owned()];
    if billing::prices(change.conn(), &keys, &billing.currency, billing.interval, today).await?.is_empty() {
        return Err(refused(Code::NotForSale));
    }
    let ends_on = today.plus_days(days);
    let ends_at = calendar::begins(ends_on, &billing.time_zone);
    sqlx::query!(
        "WITH trial AS (
             INSERT INTO license_trial (account_id, product_id, quantity, started_at, ends_on, ends_at) VALUES ($1, $2, $3, $4, $5, $6))
         INSERT INTO license_pool AS p (account_id, product_id, granted, trial) VALUES ($1, $2, 0, $3)
         ON CONFLICT (account_id, product_id) DO UPDATE SET trial = p.trial + excluded.trial",
        account.0,
        product,
        quantity,
        now as Timestamp,
        ends_on as Date,
        ends_at as Timestamp,
    )
    .execute(change.conn())
    .await?;
    let detail = json!({ "product": product, "quantity": quantity, "endsOn": ends_on });
    change.record(NewEvent::new(EventKind::TrialStarted).detail(detail));
    Ok(())
}

/// Says that a trial's licences are not wanted after its end, or that they are. Until the end it can be said otherwise.
///
/// # Errors
/// NOT_PERMITTED; NO_TRIAL at `productId`.
pub async fn opt(change: &mut Change, actor: &Actor, product: &str, out: bool) -> Result<()> {
    actor.may(Action::ManageLicenses, Target::Account)?;
    billing::lock(change).await?;
    change.standing(actor).await?.may(Action::ManageLicenses, Target::Account)?;
    let (account, now) = (change.account(), change.now());
    let before = sqlx::query_scalar!(
        r#"SELECT opted_out_at IS NOT NULL AS "out!" FROM license_trial
           WHERE account_id = $1 AND product_id = $2 AND ended_at IS NULL AND ends_at > $3 FOR NO KEY UPDATE"#,
        account.0,
        product,
        now as Timestamp,
    )
    .fetch_optional(change.conn())
    .await?;
    let before = before.ok_or_else(|| refused(Code::NoTrial))?;
    if before == out {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE license_trial SET opted_out_at = CASE WHEN $3 THEN $4::timestamptz END WHERE account_id = $1 AND product_id = $2",
        account.0,
        product,
        out,
        now as Timestamp,
    )
    .execute(change.conn())
    .await?;
    let kind = if out { EventKind::TrialOptedOut } else { EventKind::TrialOptedIn };
    change.record(NewEvent::new(kind).detail(json!({ "product": product })));
    Ok(())
}

/// A trial that is over.
struct Over {
    product_id: String,
    ends_on: Date,
    opted_out: bool,
}

/// Ends the first trial that is over at an instant, or, `strictly`, before it. A charge that is under way is waited for: its quote says which
/// tax it bears. Billing and pools must be locked.
pub(crate) async fn end_next(
    change: &mut Change,
    billing: &mut Billing,
    until: Timestamp,
    strictly: bool,
) -> Result<bool> {
    let account = change.account();
    let over = sqlx::query_as!(
        Over,
        r#"SELECT product_id, ends_on AS "ends_on: Date", opted_out_at IS NOT NULL AS "opted_out!" FROM license_trial
           WHERE account_id = $1 AND ended_at IS NULL AND (ends_at < $2 OR (ends_at = $2 AND NOT $3))
             AND ($3 OR NOT EXISTS (SELECT FROM license_change c WHERE c.account_id = $1 AND c.status = 'PENDING'))
           ORDER BY ends_at, product_id LIMIT 1"#,
        account.0,
        until as Timestamp,
        strictly,
    )
    .fetch_optional(change.conn())
    .await?;
    let Some(over) = over else { return Ok(false) };
    let pools = billing::pool_states(change.conn(), account).await?;
    let Some(pool) = pools.get(&over.product_id) else {
        // The product was closed meanwhile.
        finish(change, &over, 0).await?;
        return Ok(true);
    };
    let bought = pool.granted + pool.paid;
    let needed = (pool.in_use + pool.scheduled - pool.named_held - bought).clamp(0, pool.trial);
    let priced = price(change, billing, &over).await?;
    let quantity = match priced {
        Some(_) if !over.opted_out => needed,
        _ => 0,
    };
    if quantity == 0 {
        take_newest(change, &over.product_id, needed).await?;
    }
    finish(change, &over, quantity).await?;
    if let (Some((period, unit_price, before)), true) = (priced, quantity > 0) {
        convert(change, billing, &over, quantity, (&period, unit_price, before)).await?;
    }
    sqlx::query!(
        "DELETE FROM license_pool WHERE account_id = $1 AND product_id = $2 AND granted + trial + paid + in_use = 0",
        account.0,
        over.product_id,
    )
    .execute(change.conn())
    .await?;
    Ok(true)
}

/// Writes down that a trial is over, and how many of its licences are paid for from then on.
async fn finish(change: &mut Change, over: &Over, quantity: i32) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "WITH ended AS (UPDATE license_trial SET ended_at = $4 WHERE account_id = $1 AND product_id = $2)
         UPDATE license_pool SET trial = 0, paid = paid + $3 WHERE account_id = $1 AND product_id = $2",
        account.0,
        over.product_id,
        quantity,
        now as Timestamp,
    )
    .execute(change.conn())
    .await?;
    let detail = json!({ "product": over.product_id, "optedOut": over.opted_out, "licenses": quantity });
    change.record(NewEvent::new(EventKind::TrialEnded).detail(detail));
    Ok(())
}

/// The period that a trial's licences are paid for in, the price there and what was added before; none where they are not sold any more.
async fn price(change: &mut Change, billing: &Billing, over: &Over) -> Result<Option<(Period, i64, i64)>> {
    let (period, unopened) = match &billing.period {
        Some(period) => (period.clone(), false),
        None => (Period::first(billing, over.ends_on), true),
    };
    let account = change.account();
    match terms::price_in(change.conn(), account, (&period, unopened), &over.product_id, over.ends_on).await {
        Ok((unit_price, before)) => Ok(Some((period, unit_price, before))),
        Err(Error::Refused(_)) => {
            tracing::error!(account.id = %change.account(), product = over.product_id, "a trial's product has no price; it is not billed");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The allocated number is paid for from the trial's end on.
async fn convert(
    change: &mut Change,
    billing: &mut Billing,
    over: &Over,
    quantity: i32,
    (period, unit_price, before): (&Period, i64, i64),
) -> Result<()> {
    let opens_period = billing.period.is_none();
    if opens_period {
        period::open(change, period).await?;
        billing.period = Some(period.clone());
    }
    let share = proration::share(unit_price, quantity, period.days_from(over.ends_on));
    let net = proration::cost(before, share, period.days());
    period::add(change, period.period_no, &over.product_id, unit_price, share).await?;
    let line = NewLine {
        kind: LineKind::Trial,
        product_id: over.product_id.clone(),
        quantity,
        unit_price,
        from_on: over.ends_on,
        until_on: period.ends_on,
        of_days: period.days(),
        net,
        tax_rate: billing.tax_rate,
        fixed_tax: None,
        paid: false,
        change_id: None,
        credit_id: None,
    };
    let (net, tax) = statement::add(change, &period.currency, &[line]).await?;
    let terms = Terms {
        currency: period.currency.clone(),
        interval: billing.interval,
        period: period.clone(),
        opens_period,
        effective_on: over.ends_on,
        tax_rate: billing.tax_rate,
        lines: vec![Line {
            product_id: over.product_id.clone(),
            quantity,
            unit_price,
            from_on: over.ends_on,
            until_on: period.ends_on,
            of_days: period.days(),
            before,
            share,
            net,
            tax,
        }],
        reductions: Vec::new(),
        named: Vec::new(),
        pools: Vec::new(),
        next: None,
        plan_currency: billing.currency.clone(),
    };
    license_change::insert_trial(change, &over.product_id, quantity, (net, tax), &terms).await
}

/// Takes so many licences back, the newest first.
async fn take_newest(change: &mut Change, product: &str, count: i32) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let account = change.account();
    let holders = sqlx::query_scalar!(
        r#"SELECT member_id AS "member_id: MemberId" FROM license_allocation a
           WHERE account_id = $1 AND product_id = $2
             AND NOT EXISTS (SELECT FROM license_named n WHERE n.account_id = $1 AND n.product_id = $2 AND n.member_id = a.member_id)
           ORDER BY allocated_at DESC, member_id DESC LIMIT $3"#,
        account.0,
        product,
        i64::from(count),
    )
    .fetch_all(change.conn())
    .await?;
    super::take_back(change, product, &holders).await
}

/// Asks for the notice of trials that end within three days: once for each. Returns how many.
pub async fn notify_due(change: &mut Change) -> Result<usize> {
    let (account, now) = (change.account(), change.now());
    let due = sqlx::query_scalar!(
        "UPDATE license_trial SET noticed_at = $2
         WHERE account_id = $1 AND ended_at IS NULL AND noticed_at IS NULL AND ends_at <= $3 RETURNING product_id",
        account.0,
        now as Timestamp,
        (now + NOTICE) as Timestamp,
    )
    .fetch_all(change.conn())
    .await?;
    for product in &due {
        notice::enqueue(change, &Notice::TrialEnding { product_id: product.clone() }).await?;
    }
    Ok(due.len())
}

/// What the notice of a trial's end says.
#[derive(Clone, Debug)]
pub struct TrialMail {
    /// The product's name.
    pub product: String,
    /// The day from which the licences cost something.
    pub ends_on: Date,
    /// Licences that members hold now.
    pub allocated: i32,
    /// Whether the account does not want to go on.
    pub opted_out: bool,
}

/// Reads what the notice says; `None` when the trial is over.
pub async fn mail(conn: &mut PgConnection, account: AccountId, product: &str) -> sqlx::Result<Option<TrialMail>> {
    sqlx::query_as!(
        TrialMail,
        r#"SELECT p.name AS product, t.ends_on AS "ends_on: Date", l.in_use AS allocated, t.opted_out_at IS NOT NULL AS "opted_out!"
           FROM license_trial t JOIN product p USING (product_id) JOIN license_pool l USING (account_id, product_id)
           WHERE t.account_id = $1 AND t.product_id = $2 AND t.ended_at IS NULL"#,
        account.0,
        product,
    )
    .fetch_optional(conn)
    .await
}
