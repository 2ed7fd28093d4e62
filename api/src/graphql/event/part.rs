//! Reads the parts of an event. `None`: the event does not have the form that this version expects.

use async_graphql::{ID, InputType, SimpleObject, Value};
use domain::event::read::{Event, Personal};
use domain::id::{ChangeId, ExportId, GroupId, ImportId, MemberId, ResourceId, RoleId, StatementId, UnitId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// A value of the lasting part, by its JSON pointer; what is missing is null.
pub(super) fn detail<T: InputType>(event: &Event, pointer: &str) -> Option<T> {
    parse(event.detail.pointer(pointer))
}

/// A value of the personal part, by its JSON pointer; null when it is erased.
pub(super) fn personal<T: InputType>(event: &Event, pointer: &str) -> Option<T> {
    match &event.personal {
        Personal::Body(body) => parse(body.pointer(pointer)),
        Personal::None | Personal::Erased => parse(None),
    }
}

fn parse<T: InputType>(value: Option<&serde_json::Value>) -> Option<T> {
    let value = value.cloned().map(Value::from_json).transpose().ok()?;
    T::parse(value).ok()
}

/// The subject as a member's id.
pub(super) fn member(event: &Event) -> Option<ID> {
    event.subject.map(|id| MemberId(id).to_string().into())
}

/// The subject as an import's id.
pub(super) fn import(event: &Event) -> Option<ID> {
    event.subject.map(|id| ImportId(id).to_string().into())
}

/// The subject as an export's id.
pub(super) fn export(event: &Event) -> Option<ID> {
    event.subject.map(|id| ExportId(id).to_string().into())
}

/// The subject as a role's id.
pub(super) fn role(event: &Event) -> Option<ID> {
    event.subject.map(|id| RoleId(id).to_string().into())
}

/// The subject as a unit's id.
pub(super) fn unit(event: &Event) -> Option<ID> {
    event.subject.map(|id| UnitId(id).to_string().into())
}

/// A role within a unit.
#[derive(SimpleObject, Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventUnitRole {
    /// The role.
    #[serde(deserialize_with = "id")]
    role_id: ID,
    /// The unit.
    #[serde(deserialize_with = "id")]
    unit_id: ID,
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ID, D::Error> {
    String::deserialize(deserializer).map(ID::from)
}

/// Objects of the lasting part, by their JSON pointer; what is missing is null.
#[expect(clippy::option_option, reason = "a form that is not known, or null")]
pub(super) fn detail_objects<T: DeserializeOwned>(event: &Event, pointer: &str) -> Option<Option<Vec<T>>> {
    let value = event.detail.pointer(pointer).cloned().unwrap_or_default();
    serde_json::from_value(value).ok()
}

/// The subject as a group's id.
pub(super) fn group(event: &Event) -> Option<ID> {
    event.subject.map(|id| GroupId(id).to_string().into())
}

/// The subject as a resource's id.
pub(super) fn resource(event: &Event) -> Option<ID> {
    event.subject.map(|id| ResourceId(id).to_string().into())
}

/// The subject as a licence change's id.
pub(super) fn change(event: &Event) -> Option<ID> {
    event.subject.map(|id| ChangeId(id).to_string().into())
}

/// The subject as a statement's id.
pub(super) fn statement(event: &Event) -> Option<ID> {
    event.subject.map(|id| StatementId(id).to_string().into())
}

/// More, or fewer, licences of a product.
#[derive(SimpleObject, Clone, Debug, Deserialize)]
pub struct EventLicenses {
    /// Key of the product.
    product: String,
    /// How many more; negative for fewer.
    quantity: i32,
}

/// An amount of money as an event tells it.
#[derive(SimpleObject, Clone, Debug)]
pub struct EventAmount {
    /// How much, as a decimal number.
    amount: String,
    /// Of what currency.
    currency: String,
}

/// An amount of the lasting part; null where there was none.
#[expect(clippy::option_option, reason = "a form that is not known, or null")]
pub(super) fn amount(event: &Event, pointer: &str) -> Option<Option<EventAmount>> {
    let Some(told) = event.detail.pointer(pointer).filter(|told| !told.is_null()) else { return Some(None) };
    Some(Some(EventAmount { amount: parse(told.get("amount"))?, currency: parse(told.get("currency"))? }))
}

/// A rate per hour as an event tells it.
#[derive(SimpleObject, Clone, Debug)]
pub struct EventRate {
    /// How much, as a decimal number.
    amount: String,
    /// Of what currency.
    currency: String,
}

/// A rate of the lasting part; null where there was none.
#[expect(clippy::option_option, reason = "a form that is not known, or null")]
pub(super) fn rate(event: &Event, pointer: &str) -> Option<Option<EventRate>> {
    let rate = event.detail.pointer(pointer)?;
    if rate.is_null() {
        return Some(None);
    }
    Some(Some(EventRate { amount: parse(rate.get("amount"))?, currency: parse(rate.get("currency"))? }))
}

/// Of an event that concerns the account as a whole.
pub(super) fn nothing(_: &Event) -> Option<ID> {
    None
}

/// A text of an invitation that was corrected, or of a profile that was changed.
#[derive(SimpleObject, Clone, Debug)]
pub struct EventTextChange {
    /// Which one, as in `InvitationUpdateInput` or `MemberUpdateInput`, like `email`.
    field: String,
    /// What it was.
    before: Option<String>,
    /// What it is from then on.
    after: Option<String>,
}

/// The texts that differ; null when they are erased.
#[expect(clippy::option_option, reason = "a form that is not known, or null")]
pub(super) fn texts(event: &Event) -> Option<Option<Vec<EventTextChange>>> {
    let body = match &event.personal {
        Personal::Body(body) => body,
        Personal::None => return Some(Some(Vec::new())),
        Personal::Erased => return Some(None),
    };
    let Some(after) = body.get("after") else { return Some(Some(Vec::new())) };
    let changes = after.as_object()?.iter().map(|(field, after)| {
        let before = parse(body["before"].get(field))?;
        Some(EventTextChange { field: field.clone(), before, after: parse(Some(after))? })
    });
    changes.collect::<Option<_>>().map(Some)
}

/// The account's policy as an event tells it. A setting that there was not at the time is null.
#[derive(SimpleObject, Clone, Debug)]
pub struct EventAccountPolicy {
    /// Seconds an invitation can be accepted.
    invitation_lifetime_seconds: Option<i32>,
    /// Whether free-mail addresses are refused.
    refuse_personal_domains: Option<bool>,
    /// Free-mail domains that are accepted all the same.
    allowed_personal_domains: Option<Vec<String>>,
    /// The only domains that are accepted; empty for any.
    allowed_domains: Option<Vec<String>>,
    /// Seconds of disuse after which a session ends.
    session_idle_seconds: Option<i32>,
    /// Seconds after which a session ends in any case.
    session_absolute_seconds: Option<i32>,
}

/// A policy of the lasting part.
pub(super) fn policy(event: &Event, key: &str) -> Option<EventAccountPolicy> {
    let policy = event.detail.get(key)?;
    Some(EventAccountPolicy {
        invitation_lifetime_seconds: parse(policy.get("invitationLifetimeSeconds"))?,
        refuse_personal_domains: parse(policy.get("refusePersonalDomains"))?,
        allowed_personal_domains: parse(policy.get("allowedPersonalDomains"))?,
        allowed_domains: parse(policy.get("allowedDomains"))?,
        session_idle_seconds: parse(policy.get("sessionIdleSeconds"))?,
        session_absolute_seconds: parse(policy.get("sessionAbsoluteSeconds"))?,
    })
}
