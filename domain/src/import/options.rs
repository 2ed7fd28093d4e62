//! What whoever starts an import may choose.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::actor::{Action, Standing, Target};
use crate::change::Change;
use crate::error::{AtField as _, Error, Result};
use crate::id::{GroupId, RoleId};
use crate::invitation::ErrorPolicy;
use crate::member::Place;
use crate::member::place::{look_at_groups, may_give};
use crate::permission::SystemRole;

/// How an import is done.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the importer's independent choices")]
pub struct Options {
    /// Say what would happen, and change nothing.
    pub dry_run: bool,
    /// Send each new member the invitation at once.
    pub send_welcome_email: bool,
    /// Bring members who are there already up to date.
    pub update_existing: bool,
    /// Refuse the file before its first row unless there are seats for all of its new members.
    pub require_seats: bool,
    /// What becomes of the good rows when others have faults.
    pub error_policy: ErrorPolicy,
    /// Roles of new members whose row names none; Standard if there are none here either.
    pub default_roles: Vec<RoleId>,
    /// Groups of all new members.
    pub default_groups: Vec<GroupId>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dry_run: false,
            send_welcome_email: false,
            update_existing: false,
            require_seats: false,
            error_policy: ErrorPolicy::Partial,
            default_roles: Vec::new(),
            default_groups: Vec::new(),
        }
    }
}

impl Options {
    /// Whether all rows take effect or none.
    pub fn all_or_nothing(&self) -> bool {
        self.error_policy == ErrorPolicy::AllOrNothing
    }

    /// Whether rows take effect as they are read.
    pub(super) fn at_once(&self) -> bool {
        !self.dry_run && !self.all_or_nothing()
    }

    /// What a new member gets whose row names no roles.
    pub(super) fn place(&self) -> Place {
        let standard = [SystemRole::Standard.id()];
        let roles = if self.default_roles.is_empty() { &standard[..] } else { &self.default_roles };
        Place { groups: self.default_groups.clone(), ..Place::with_roles(roles.iter().copied()) }
    }

    /// Each default once, and every one of them the actor's to give. Nothing is locked: whoever puts people into the groups does that.
    ///
    /// # Errors
    /// TOO_MANY, NOT_FOUND, ARCHIVED, NOT_PERMITTED at `defaultRoleIds` and `defaultGroupIds`.
    pub(super) async fn check(&self, change: &mut Change, standing: &Standing) -> Result<()> {
        let checked = async {
            let place = self.place().distinct()?;
            may_give(change, standing, Action::Import, &Place { groups: Vec::new(), ..place.clone() }).await?;
            if !place.groups.is_empty() {
                standing.may(Action::ManageGroups, Target::Account).at("groupIds")?;
                look_at_groups(change, &place.groups).await.at("groupIds")?;
            }
            Ok(())
        };
        checked.await.map_err(|error| match error {
            Error::Refused(list) => Error::Refused(list.into_iter().map(renamed).collect()),
            other => other,
        })
    }

    pub(super) fn raw_roles(&self) -> Vec<Uuid> {
        self.default_roles.iter().map(|role| role.0).collect()
    }

    pub(super) fn raw_groups(&self) -> Vec<Uuid> {
        self.default_groups.iter().map(|group| group.0).collect()
    }

    /// For the event of the start.
    pub(super) fn detail(&self) -> Value {
        json!({
            "dryRun": self.dry_run,
            "sendWelcomeEmail": self.send_welcome_email,
            "updateExisting": self.update_existing,
            "requireSeats": self.require_seats,
            "allOrNothing": self.all_or_nothing(),
            "defaultRoles": self.default_roles,
            "defaultGroups": self.default_groups,
        })
    }
}

/// Here the fields are called differently than where people are invited.
fn renamed(mut refused: crate::error::Refused) -> crate::error::Refused {
    for segment in &mut refused.field {
        match segment.as_str() {
            "roleIds" => "defaultRoleIds".clone_into(segment),
            "groupIds" => "defaultGroupIds".clone_into(segment),
            _ => {}
        }
    }
    refused
}
