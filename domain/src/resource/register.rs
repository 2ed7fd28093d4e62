//! Registering resources, one or many: what is new is made, what is known by type and external id is brought up to date.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::manage::{Person, check_person, lock_people, lock_units};
use super::{TEXT_CHARS, TYPE_CHARS};
use crate::actor::{Action, Asker, Reach};
use crate::change::Change;
use crate::error::{Code, Error, Refused, Result, field};
use crate::event::{EventKind, NewEvent};
use crate::id::{MemberId, ResourceId, UnitId};
use crate::invitation::ErrorPolicy;
use crate::profile::text::line;

/// An optional value that a request may leave alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Given<T> {
    /// Stays as it is; nothing for a new thing.
    #[default]
    Keep,
    /// There is none from now on.
    Clear,
    /// This one from now on.
    To(T),
}

impl<T: Copy> Given<T> {
    fn or(self, held: Option<T>) -> Option<T> {
        match self {
            Self::Keep => held,
            Self::Clear => None,
            Self::To(value) => Some(value),
        }
    }

    fn named(self) -> Option<T> {
        if let Self::To(value) = self { Some(value) } else { None }
    }
}

/// A resource as the host product tells it.
#[derive(Clone, Debug)]
pub struct Registration {
    /// What it is: 1 to 64 characters.
    pub resource_type: String,
    /// Its id in the host product: 1 to 200 characters.
    pub external_id: String,
    /// 1 to 200 characters.
    pub name: String,
    /// Who answers for it.
    pub responsible: Given<MemberId>,
    /// The unit it belongs to.
    pub unit: Given<UnitId>,
    /// Whether every active member has access.
    pub open_to_all: Option<bool>,
}

/// What became of registrations.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// Those that are registered now, in the order of the request.
    pub resources: Vec<ResourceId>,
    /// The others, by `resources.<index>`.
    pub refused: Vec<Refused>,
}

/// A type as stored, if it can be one.
pub(super) fn word(text: &str) -> Option<String> {
    line(text, TYPE_CHARS).ok()
}

/// An external id as stored, if it can be one.
pub(super) fn external(text: &str) -> Option<String> {
    line(text, TEXT_CHARS).ok()
}

/// Values to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Values {
    name: String,
    responsible: Option<MemberId>,
    unit: Option<UnitId>,
    open_to_all: bool,
}

/// A resource that is there, under lock.
struct Known {
    resource_id: ResourceId,
    values: Values,
    archived: bool,
}

/// A registration whose texts are right.
struct Item {
    index: usize,
    key: (String, String),
    name: String,
}

/// What the items of a request refer to.
struct World {
    known: HashMap<(String, String), Known>,
    people: HashMap<Uuid, Person>,
    units: HashMap<Uuid, bool>,
    reach: Reach,
}

/// Registers resources.
///
/// # Errors
/// With [`ErrorPolicy::AllOrNothing`] every refusal; otherwise only what concerns all. Per resource, at `resources.<index>`: what is
/// wrong with a text; DUPLICATE; ARCHIVED for one that is in the archive; NOT_FOUND and ARCHIVED at `unitId`; NOT_FOUND, and
/// WRONG_STATUS for somebody who is not active, at `responsibleMemberId`; UNIT_REQUIRED for whoever manages some units only.
pub async fn register(
    change: &mut Change,
    asker: &Asker,
    wanted: &[Registration],
    policy: ErrorPolicy,
) -> Result<Registered> {
    asker.may(Action::ManageResources)?;
    let mut refused = Vec::new();
    let items = validate(wanted, &mut refused);
    let people: Vec<Uuid> = wanted.iter().filter_map(|one| one.responsible.named()).map(|member| member.0).collect();
    let units: Vec<Uuid> = wanted.iter().filter_map(|one| one.unit.named()).map(|unit| unit.0).collect();
    // People, units, resources: the order of locks.
    let people = lock_people(change, &people).await?;
    let units = lock_units(change, &units).await?;
    let known = lock_known(change, &items).await?;
    let reach = asker.stands(change, Action::ManageResources).await?;
    let world = World { known, people, units, reach };
    let mut plan = Plan::default();
    for item in items {
        match world.judge(&item, &wanted[item.index]) {
            Ok(values) => plan.add(&world, item, values),
            Err(fault) => refused.push(fault.at(item.index).at("resources")),
        }
    }
    refused.sort_by_key(|refused| refused.field.get(1).and_then(|index| index.parse::<usize>().ok()));
    if policy == ErrorPolicy::AllOrNothing && !refused.is_empty() {
        return Err(Error::Refused(refused));
    }
    Ok(Registered { resources: plan.carry_out(change).await?, refused })
}

/// The registrations whose texts are right, each type and external id once.
fn validate(wanted: &[Registration], refused: &mut Vec<Refused>) -> Vec<Item> {
    let mut seen = HashSet::new();
    let mut items = Vec::with_capacity(wanted.len());
    for (index, one) in wanted.iter().enumerate() {
        let texts = || {
            let kind = field("type", line(&one.resource_type, TYPE_CHARS))?;
            let external = field("externalId", line(&one.external_id, TEXT_CHARS))?;
            Ok::<_, Error>(((kind, external), field("name", line(&one.name, TEXT_CHARS))?))
        };
        match texts() {
            Ok((key, name)) if seen.insert(key.clone()) => items.push(Item { index, key, name }),
            Ok(_) => refused.push(Refused::new(Code::Duplicate).at("externalId").at(index).at("resources")),
            Err(Error::Refused(list)) => refused.extend(list.into_iter().map(|one| one.at(index).at("resources"))),
            Err(other) => unreachable!("validation only refuses: {other}"),
        }
    }
    items
}

async fn lock_known(change: &mut Change, items: &[Item]) -> Result<HashMap<(String, String), Known>> {
    let account = change.account();
    let (types, externals): (Vec<String>, Vec<String>) = items.iter().map(|item| item.key.clone()).unzip();
    let rows = sqlx::query!(
        r#"SELECT r.resource_id AS "resource_id: ResourceId", r.resource_type, r.external_id, r.name,
                  r.responsible_member_id AS "responsible: MemberId", r.unit_id AS "unit: UnitId", r.open_to_all,
                  r.archived_at IS NOT NULL AS "archived!"
           FROM resource r
           WHERE r.account_id = $1 AND (r.resource_type, r.external_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
           ORDER BY r.resource_id FOR NO KEY UPDATE"#,
        account.0,
        &types,
        &externals,
    )
    .fetch_all(change.conn())
    .await?;
    let known = rows.into_iter().map(|row| {
        let values =
            Values { name: row.name, responsible: row.responsible, unit: row.unit, open_to_all: row.open_to_all };
        ((row.resource_type, row.external_id), Known { resource_id: row.resource_id, values, archived: row.archived })
    });
    Ok(known.collect())
}

impl World {
    /// What an item will be, if the asker may make it so.
    fn judge(&self, item: &Item, wanted: &Registration) -> Result<Values, Refused> {
        let refuse = |code, field: &str| Err(Refused::new(code).at(field));
        let known = self.known.get(&item.key);
        let held = known.map(|known| &known.values);
        if held.is_some_and(|held| !self.reach.includes(held.unit.as_slice())) {
            return refuse(Code::NotFound, "externalId");
        }
        if known.is_some_and(|known| known.archived) {
            return refuse(Code::Archived, "externalId");
        }
        let unit = wanted.unit.or(held.and_then(|held| held.unit));
        match wanted.unit.named().map(|unit| self.units.get(&unit.0)) {
            Some(None) => return refuse(Code::NotFound, "unitId"),
            Some(Some(_)) if !self.reach.includes(unit.as_slice()) => return refuse(Code::NotFound, "unitId"),
            Some(Some(true)) if held.is_none_or(|held| held.unit != unit) => return refuse(Code::Archived, "unitId"),
            _ if !self.reach.includes(unit.as_slice()) => return refuse(Code::UnitRequired, "unitId"),
            _ => {}
        }
        let before = held.and_then(|held| held.responsible);
        let responsible = wanted.responsible.or(before);
        if let Some(member) = responsible.filter(|_| responsible != before) {
            check_person(&self.people, &self.reach, member, true)
                .map_err(|code| Refused::new(code).at("responsibleMemberId"))?;
        }
        let open_to_all = wanted.open_to_all.unwrap_or(held.is_some_and(|held| held.open_to_all));
        Ok(Values { name: item.name.clone(), responsible, unit, open_to_all })
    }
}

/// What is to be written.
#[derive(Default)]
struct Plan {
    /// All in the order of the request.
    ids: Vec<ResourceId>,
    new: Vec<(ResourceId, (String, String), Values)>,
    changed: Vec<(ResourceId, Values, Values)>,
}

impl Plan {
    fn add(&mut self, world: &World, item: Item, values: Values) {
        match world.known.get(&item.key) {
            None => {
                let id = ResourceId::new();
                self.ids.push(id);
                self.new.push((id, item.key, values));
            }
            Some(known) => {
                self.ids.push(known.resource_id);
                if known.values != values {
                    self.changed.push((known.resource_id, known.values.clone(), values));
                }
            }
        }
    }

    async fn carry_out(self, change: &mut Change) -> Result<Vec<ResourceId>> {
        self.insert(change).await?;
        self.update(change).await?;
        for (id, (kind, external), values) in &self.new {
            let detail = json!({ "type": kind, "externalId": external, "responsible": values.responsible, "unit": values.unit,
                                 "openToAll": values.open_to_all });
            change.record(NewEvent::new(EventKind::ResourceRegistered).subject(id.0).detail(detail));
        }
        for (id, before, after) in &self.changed {
            let detail = json!({
                "renamed": before.name != after.name,
                "responsible": { "before": before.responsible, "after": after.responsible },
                "unit": { "before": before.unit, "after": after.unit },
                "openToAll": { "before": before.open_to_all, "after": after.open_to_all },
            });
            change.record(NewEvent::new(EventKind::ResourceUpdated).subject(id.0).detail(detail));
        }
        Ok(self.ids)
    }

    async fn insert(&self, change: &mut Change) -> Result<()> {
        let (account, now) = (change.account(), change.now());
        let columns = Columns::of(self.new.iter().map(|(id, _, values)| (id, values)));
        let (types, externals): (Vec<String>, Vec<String>) = self.new.iter().map(|(_, key, _)| key.clone()).unzip();
        let made = sqlx::query!(
            "INSERT INTO resource (account_id, resource_id, resource_type, external_id, name, responsible_member_id, unit_id, open_to_all,
                                   created_at)
             SELECT $1, u.id, u.resource_type, u.external_id, u.name, u.responsible, u.unit, u.open_to_all, $2
             FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::uuid[], $9::boolean[])
                  u(id, resource_type, external_id, name, responsible, unit, open_to_all)
             ON CONFLICT DO NOTHING",
            account.0,
            now,
            &columns.ids,
            &types,
            &externals,
            &columns.names,
            &columns.responsible as &[Option<Uuid>],
            &columns.units as &[Option<Uuid>],
            &columns.open,
        )
        .execute(change.conn())
        .await?;
        // Somebody else has registered one of them since it was looked for: then it is known on the next try.
        if made.rows_affected() == self.new.len() as u64 { Ok(()) } else { Err(Error::Stale) }
    }

    async fn update(&self, change: &mut Change) -> Result<()> {
        let account = change.account();
        let columns = Columns::of(self.changed.iter().map(|(id, _, values)| (id, values)));
        sqlx::query!(
            "UPDATE resource r SET name = u.name, responsible_member_id = u.responsible, unit_id = u.unit, open_to_all = u.open_to_all,
                    version = r.version + 1
             FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::boolean[]) u(id, name, responsible, unit, open_to_all)
             WHERE r.account_id = $1 AND r.resource_id = u.id",
            account.0,
            &columns.ids,
            &columns.names,
            &columns.responsible as &[Option<Uuid>],
            &columns.units as &[Option<Uuid>],
            &columns.open,
        )
        .execute(change.conn())
        .await?;
        Ok(())
    }
}

/// Resources as columns for a statement.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    names: Vec<String>,
    responsible: Vec<Option<Uuid>>,
    units: Vec<Option<Uuid>>,
    open: Vec<bool>,
}

impl Columns {
    fn of<'v>(rows: impl Iterator<Item = (&'v ResourceId, &'v Values)>) -> Self {
        let mut columns = Self::default();
        for (id, values) in rows {
            columns.ids.push(id.0);
            columns.names.push(values.name.clone());
            columns.responsible.push(values.responsible.map(|member| member.0));
            columns.units.push(values.unit.map(|unit| unit.0));
            columns.open.push(values.open_to_all);
        }
        columns
    }
}
