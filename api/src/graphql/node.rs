//! Objects by id. Another account's id answers as an unknown one.

use std::collections::HashMap;
use std::str::FromStr;

use async_graphql::{Context, ID, Interface, Result};
use domain::id::{
    AccountId, ChangeId, ExportId, GroupId, ImportId, InvitationId, MemberId, QuoteId, ResourceId, RoleId, StatementId,
    UnitId,
};

use super::account::{self, Account};
use super::billing::statement::{self, Statement};
use super::context::ContextExt as _;
use super::error::ErrorCode;
use super::export::{self, Export};
use super::group::{self, Group};
use super::import::{self, MemberImport};
use super::invitation::{self, Invitation};
use super::license::change::{self, LicenseChange};
use super::license::quote::{self, LicenseQuote};
use super::member::{self, Member};
use super::resource::{self, Resource};
use super::role::{self, Role};
use super::unit::{self, Unit};

/// Ids that `nodes` takes at once.
const MAX_IDS: usize = 100;

/// Anything with an id.
#[derive(Interface, Clone, Debug)]
#[graphql(field(name = "id", ty = "&ID", desc = "Opaque id."))]
pub enum Node {
    /// An account.
    Account(Box<Account>),
    /// A member.
    Member(Box<Member>),
    /// An invitation.
    Invitation(Box<Invitation>),
    /// An import of members.
    MemberImport(Box<MemberImport>),
    /// A file that is made for somebody.
    Export(Box<Export>),
    /// A role.
    Role(Box<Role>),
    /// A unit.
    Unit(Box<Unit>),
    /// A group of members.
    Group(Box<Group>),
    /// A thing of the host product.
    Resource(Box<Resource>),
    /// A priced change of licences.
    LicenseQuote(Box<LicenseQuote>),
    /// A change of licences.
    LicenseChange(Box<LicenseChange>),
    /// What the account owes for a period.
    Statement(Box<Statement>),
}

/// Loads nodes: one statement per kind.
pub async fn load(ctx: &Context<'_>, ids: &[ID]) -> Result<Vec<Option<Node>>> {
    if ids.len() > MAX_IDS {
        return Err(ErrorCode::BadUserInput.error(format!("At most {MAX_IDS} ids at once.")));
    }
    let actor = ctx.actor()?;
    let mut found: HashMap<ID, Node> = HashMap::new();
    let members: Vec<MemberId> = of_kind(ids);
    if !members.is_empty() {
        let members = member::read_many(ctx, actor, &members).await?;
        found.extend(members.into_iter().map(|member| (member.id.clone(), Node::Member(Box::new(member)))));
    }
    let invitations: Vec<InvitationId> = of_kind(ids);
    if !invitations.is_empty() {
        let invitations = invitation::read_many(ctx, &invitations).await?;
        found.extend(invitations.into_iter().map(|i| (i.id.clone(), Node::Invitation(Box::new(i)))));
    }
    let roles: Vec<RoleId> = of_kind(ids);
    if !roles.is_empty() {
        let roles = role::read_many(ctx, &roles).await?;
        found.extend(roles.into_iter().map(|role| (role.id.clone(), Node::Role(Box::new(role)))));
    }
    let units: Vec<UnitId> = of_kind(ids);
    if !units.is_empty() {
        let units = unit::read_many(ctx, &units).await?;
        found.extend(units.into_iter().map(|unit| (unit.id.clone(), Node::Unit(Box::new(unit)))));
    }
    let imports: Vec<ImportId> = of_kind(ids);
    if !imports.is_empty() {
        let imports = import::read_many(ctx, &imports).await?;
        found.extend(imports.into_iter().map(|import| (import.id.clone(), Node::MemberImport(Box::new(import)))));
    }
    let exports: Vec<ExportId> = of_kind(ids);
    if !exports.is_empty() {
        let exports = export::read_many(ctx, &exports).await?;
        found.extend(exports.into_iter().map(|export| (export.id.clone(), Node::Export(Box::new(export)))));
    }
    let groups: Vec<GroupId> = of_kind(ids);
    if !groups.is_empty() {
        let groups = group::read_many(ctx, &groups).await?;
        found.extend(groups.into_iter().map(|group| (group.id.clone(), Node::Group(Box::new(group)))));
    }
    let resources: Vec<ResourceId> = of_kind(ids);
    if !resources.is_empty() {
        let resources = resource::read_many(ctx, &resources).await?;
        found.extend(resources.into_iter().map(|one| (one.id.clone(), Node::Resource(Box::new(one)))));
    }
    money(ctx, ids, &mut found).await?;
    if of_kind::<AccountId>(ids).contains(&actor.account_id) {
        let account = account::read(ctx).await?;
        found.insert(account.id.clone(), Node::Account(Box::new(account)));
    }
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}

/// Those of licences and money.
async fn money(ctx: &Context<'_>, ids: &[ID], found: &mut HashMap<ID, Node>) -> Result<()> {
    let quotes: Vec<QuoteId> = of_kind(ids);
    if !quotes.is_empty() {
        let quotes = quote::read_many(ctx, &quotes).await?;
        found.extend(quotes.into_iter().map(|one| (one.id.clone(), Node::LicenseQuote(Box::new(one)))));
    }
    let changes: Vec<ChangeId> = of_kind(ids);
    if !changes.is_empty() {
        let changes = change::read_many(ctx, &changes).await?;
        found.extend(changes.into_iter().map(|one| (one.id.clone(), Node::LicenseChange(Box::new(one)))));
    }
    let statements: Vec<StatementId> = of_kind(ids);
    if !statements.is_empty() {
        let statements = statement::read_many(ctx, &statements).await?;
        found.extend(statements.into_iter().map(|one| (one.id.clone(), Node::Statement(Box::new(one)))));
    }
    Ok(())
}

fn of_kind<T: FromStr>(ids: &[ID]) -> Vec<T> {
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}
