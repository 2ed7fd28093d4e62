//! Changing a profile: one's own, or somebody else's with the permission for it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::status::{Locked, lock, lock_any};
use super::validity::{self, Validity};
use crate::actor::{Action, Actor};
use crate::change::Change;
use crate::error::{AtField as _, Code, Error, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::MemberId;
use crate::infra::clock::Date;
use crate::profile::{self, FieldFault, Profile, SubscriptionType};
use crate::session;

/// What of a member is to change. `None` leaves a field, an empty text or an inner `None` clears it.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The version that the change was decided on.
    pub expected_version: i32,
    /// Texts of the profile.
    pub texts: Texts,
    /// Attorney or not.
    pub subscription_type: Option<Option<SubscriptionType>>,
    /// See [`Validity`].
    pub valid_from: Option<Option<Date>>,
    /// See [`Validity`].
    pub valid_until: Option<Option<Date>>,
}

macro_rules! texts {
    ($($(#[$doc:meta])* $field:ident $name:literal $parse:path;)*) => {
        /// Texts of a profile as they were typed; `None` leaves one, an empty one clears it.
        #[derive(Clone, Default)]
        pub struct Texts { $($(#[$doc])* pub $field: Option<String>,)* }

        impl Texts {
            /// The profile with what was typed; every fault at once.
            fn apply(&self, profile: &Profile) -> Result<Profile> {
                let (mut after, mut faults) = (profile.clone(), Vec::new());
                $(if let Some(text) = &self.$field {
                    match field($name, profile::optional(text, $parse)) {
                        Ok(value) => after.$field = value,
                        Err(Error::Refused(list)) => faults.extend(list),
                        Err(other) => return Err(other),
                    }
                })*
                if faults.is_empty() { Ok(after) } else { Err(Error::Refused(faults)) }
            }
        }

        /// The texts that differ, before and after.
        fn differing(before: &Profile, after: &Profile) -> (Map<String, Value>, Map<String, Value>) {
            let (mut old, mut new) = (Map::new(), Map::new());
            $(if before.$field != after.$field {
                old.insert($name.to_owned(), json!(before.$field));
                new.insert($name.to_owned(), json!(after.$field));
            })*
            (old, new)
        }
    };
}

texts! {
    /// First name; cannot be cleared once they have joined.
    first_name "firstName" profile::person_name;
    /// Last name; cannot be cleared once they have joined.
    last_name "lastName" profile::person_name;
    /// Initials.
    initials "initials" profile::initials;
    /// Time zone.
    time_zone "timeZone" profile::time_zone;
    /// Street address.
    address "address" profile::address;
    /// City.
    city "city" profile::city;
    /// State or province.
    state "state" profile::state;
    /// Postal code.
    zip "zip" profile::zip;
    /// Country.
    country "country" profile::country;
    /// Phone number.
    phone "phone" profile::phone;
    /// Job title.
    job_title "jobTitle" profile::job_title;
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Texts(…)")
    }
}

/// Whose profile was changed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Updated {
    /// The member.
    pub member_id: MemberId,
    /// Whether their country, as far as known, has no such state or province.
    pub unknown_state: bool,
}

/// Changes a profile, and from when until when somebody else is a member.
///
/// # Errors
/// NOT_PERMITTED, NOT_FOUND, OWNER_PROTECTED at `memberId`; OWN_STATUS at one's own validity; VERSION_CONFLICT at `expectedVersion`; what
/// is wrong with a field.
pub async fn update(change: &mut Change, actor: &Actor, member: MemberId, update: &Update) -> Result<Updated> {
    let own = member == actor.member_id;
    let locked = if own {
        let locked = lock_any(change, member).await.at("memberId")?;
        change.standing(actor).await?;
        locked
    } else {
        lock(change, actor, member, Action::UpdateMember).await?.0
    };
    let (before, version) = read(change, member).await?;
    let mut after = update.texts.apply(&before)?;
    if locked.user_id.is_some() {
        let named = [("firstName", &after.first_name), ("lastName", &after.last_name)];
        if let Some((name, _)) = named.into_iter().find(|(_, name)| name.is_none()) {
            return field(name, Err(FieldFault::Required));
        }
    }
    if let Some(subscription) = update.subscription_type {
        after.subscription_type = subscription;
    }
    let validity = check_validity(change, own, &locked, update).await?;
    if version != update.expected_version {
        return Err(Refused::new(Code::VersionConflict).at("expectedVersion").into());
    }
    if before != after || validity != locked.validity {
        write(change, member, version, (&after, validity)).await?;
        change.record(event(member, (&before, &after), (locked.validity, validity)));
    }
    if validity != locked.validity {
        change.rights_changed();
        if validity.is_ahead(validity::today(change).await?) {
            session::end_of_members(change, &[member]).await?;
        }
    }
    let unknown_state = match (&after.country, &after.state) {
        (Some(country), Some(state)) => !profile::has_state(country, state),
        _ => false,
    };
    Ok(Updated { member_id: member, unknown_state })
}

async fn check_validity(change: &mut Change, own: bool, locked: &Locked, update: &Update) -> Result<Validity> {
    let asked = [("validFrom", update.valid_from), ("validUntil", update.valid_until)];
    if let Some((name, _)) = asked.into_iter().find(|(_, date)| own && date.is_some()) {
        return Err(Refused::new(Code::OwnStatus).at(name).into());
    }
    let before = locked.validity;
    let after =
        Validity { from: update.valid_from.unwrap_or(before.from), until: update.valid_until.unwrap_or(before.until) };
    if after != before {
        after.check(validity::today(change).await?)?;
    }
    Ok(after)
}

async fn read(change: &mut Change, member: MemberId) -> Result<(Profile, i32)> {
    let account = change.account();
    let row = sqlx::query!(
        r#"SELECT first_name, last_name, initials, time_zone, address, city, state, zip, country, phone, job_title,
                  subscription_type AS "subscription_type: SubscriptionType", version
           FROM member WHERE account_id = $1 AND member_id = $2"#,
        account.0,
        member.0,
    )
    .fetch_one(change.conn())
    .await?;
    let profile = Profile {
        first_name: row.first_name,
        last_name: row.last_name,
        initials: row.initials,
        time_zone: row.time_zone,
        address: row.address,
        city: row.city,
        state: row.state,
        zip: row.zip,
        country: row.country,
        phone: row.phone,
        job_title: row.job_title,
        subscription_type: row.subscription_type,
    };
    Ok((profile, row.version))
}

/// The names stand on an open invitation as well.
async fn write(
    change: &mut Change,
    member: MemberId,
    version: i32,
    (profile, validity): (&Profile, Validity),
) -> Result<()> {
    let account = change.account();
    let written = sqlx::query!(
        "WITH open AS (
             UPDATE invitation SET first_name = $4, last_name = $5 WHERE account_id = $1 AND member_id = $2 AND finished_at IS NULL)
         UPDATE member SET version = version + 1, first_name = $4, last_name = $5, initials = $6, time_zone = $7, address = $8, city = $9,
                state = $10, zip = $11, country = $12, phone = $13, job_title = $14, subscription_type = $15, valid_from = $16,
                valid_until = $17
         WHERE account_id = $1 AND member_id = $2 AND version = $3",
        account.0,
        member.0,
        version,
        profile.first_name,
        profile.last_name,
        profile.initials,
        profile.time_zone,
        profile.address,
        profile.city,
        profile.state,
        profile.zip,
        profile.country,
        profile.phone,
        profile.job_title,
        profile.subscription_type.map(SubscriptionType::as_str),
        validity.from as Option<Date>,
        validity.until as Option<Date>,
    )
    .execute(change.conn())
    .await?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(Error::Stale) }
}

/// What is recorded of a changed profile.
pub(crate) fn updated(member: MemberId, before: &Profile, after: &Profile) -> NewEvent {
    event(member, (before, after), (Validity::default(), Validity::default()))
}

/// What somebody typed is personal; what their subscription covers, and the dates, name nobody.
fn event(member: MemberId, (before, after): (&Profile, &Profile), (old, new): (Validity, Validity)) -> NewEvent {
    let mut detail = json!({});
    if before.subscription_type != after.subscription_type {
        detail["subscriptionType"] = json!({ "before": before.subscription_type, "after": after.subscription_type });
    }
    if old.from != new.from {
        detail["validFrom"] = json!({ "before": old.from, "after": new.from });
    }
    if old.until != new.until {
        detail["validUntil"] = json!({ "before": old.until, "after": new.until });
    }
    let event = NewEvent::new(EventKind::MemberUpdated).subject(member.0).detail(detail);
    let (texts_before, texts_after) = differing(before, after);
    if texts_after.is_empty() {
        return event;
    }
    event.personal(json!({ "before": texts_before, "after": texts_after }))
}
