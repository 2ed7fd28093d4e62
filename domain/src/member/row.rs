//! A member as a statement reads them, and what of that an actor is handed.

use sqlx::{FromRow, Postgres, QueryBuilder};

use super::list::Order;
use super::sight::Sight;
use super::{Member, Status, Validity, Visibility};
use crate::actor::Actor;
use crate::id::{MemberId, UserId};
use crate::infra::clock::{Date, Timestamp};
use crate::infra::page::SortValue;
use crate::profile::{Profile, SubscriptionType};

/// Begins a statement that reads members, each with how much of them the actor sees; conditions follow.
pub(super) fn select(prefix: &str, actor: &Actor, sight: &Sight, order: Option<Order>) -> QueryBuilder<Postgres> {
    let mut statement = QueryBuilder::new(prefix);
    statement.push(
        "SELECT m.member_id, m.user_id, m.email, m.status, m.prior_status, m.first_name, m.last_name, m.initials, m.time_zone, \
         m.address, m.city, m.state, m.zip, m.country, m.phone, m.job_title, m.subscription_type, m.valid_from, m.valid_until, m.version, m.created_at, \
         m.joined_at, m.sort_name, a.last_sign_in_at, a.last_activity_at, o.member_id IS NOT NULL AS owner, ",
    );
    sight.push_visibility(&mut statement);
    // Everybody has a row of activity; only where it gives the order may the statement begin with it.
    let join = if order == Some(Order::LastActivity) { "JOIN" } else { "LEFT JOIN" };
    statement.push(format_args!(
        " AS visibility FROM member m {join} member_activity a USING (account_id, member_id) \
          LEFT JOIN account_owner o USING (account_id, member_id) WHERE m.account_id = "
    ));
    statement.push_bind(actor.account_id.0);
    sight.push_seen(&mut statement);
    statement
}

#[derive(FromRow)]
pub(super) struct Row {
    pub(super) member_id: MemberId,
    user_id: Option<UserId>,
    email: String,
    status: Status,
    prior_status: Option<Status>,
    first_name: Option<String>,
    last_name: Option<String>,
    initials: Option<String>,
    time_zone: Option<String>,
    address: Option<String>,
    city: Option<String>,
    state: Option<String>,
    zip: Option<String>,
    country: Option<String>,
    phone: Option<String>,
    job_title: Option<String>,
    subscription_type: Option<SubscriptionType>,
    valid_from: Option<Date>,
    valid_until: Option<Date>,
    version: i32,
    created_at: Timestamp,
    joined_at: Option<Timestamp>,
    sort_name: String,
    last_sign_in_at: Option<Timestamp>,
    last_activity_at: Option<Timestamp>,
    owner: bool,
    visibility: Visibility,
}

impl Row {
    /// Where it stands in an order.
    pub(super) fn sort_value(&self, order: Order) -> SortValue {
        let or_never = |at: Option<Timestamp>| SortValue::Instant(at.unwrap_or(Timestamp(jiff::Timestamp::UNIX_EPOCH)));
        match order {
            Order::Name => SortValue::Text(self.sort_name.clone()),
            Order::Email => SortValue::Text(self.email.clone()),
            Order::CreatedAt => SortValue::Instant(self.created_at),
            Order::JoinedAt => or_never(self.joined_at),
            Order::LastActivity => or_never(self.last_activity_at),
        }
    }

    /// The member with no more than the actor may see.
    pub(super) fn seen(self) -> Member {
        let basic = self.visibility == Visibility::Basic;
        let hide = |value: Option<String>| if basic { None } else { value };
        Member {
            member_id: self.member_id,
            visibility: self.visibility,
            user_id: if basic { None } else { self.user_id },
            email: hide(Some(self.email)),
            status: self.status,
            prior_status: self.prior_status,
            owner: self.owner,
            profile: Profile {
                first_name: self.first_name,
                last_name: self.last_name,
                job_title: self.job_title,
                initials: hide(self.initials),
                time_zone: hide(self.time_zone),
                address: hide(self.address),
                city: hide(self.city),
                state: hide(self.state),
                zip: hide(self.zip),
                country: hide(self.country),
                phone: hide(self.phone),
                subscription_type: if basic { None } else { self.subscription_type },
            },
            validity: if basic {
                Validity::default()
            } else {
                Validity { from: self.valid_from, until: self.valid_until }
            },
            version: (!basic).then_some(self.version),
            created_at: (!basic).then_some(self.created_at),
            joined_at: if basic { None } else { self.joined_at },
            last_sign_in_at: if basic { None } else { self.last_sign_in_at },
            last_activity_at: if basic { None } else { self.last_activity_at },
            roles: None,
            licenses: None,
            groups: None,
            units: None,
            held: None,
        }
    }
}
