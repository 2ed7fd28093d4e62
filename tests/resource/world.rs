//! A firm with resources, and a credential of the host product.

use anyhow::{Context as _, Result};
use domain::permission::SystemRole;
use domain::service_token::{self, NewToken, Scope};
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Person};

/// Where a token is sent, and what a request with it says.
pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) owner: Person,
    /// A standard member.
    pub(crate) ann: Person,
    /// Another one.
    pub(crate) ben: Person,
    /// A token with both scopes.
    pub(crate) token: String,
}

pub(crate) const FIELDS: &str =
    "id type externalId name responsibleMemberId unitId openToAll version archivedAt groupIds memberIds
    rates { groupId rate { amount currency } } viewerCanManage viewerCanRead";

impl World {
    pub(crate) async fn new() -> Result<Self> {
        let app = App::start().await?;
        let owner = app.found("olivia@harborandfinch.example", 20).await?;
        let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Standard]).await?;
        let ben = app.join(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
        let token = token(&app, "host", &Scope::ALL).await?;
        Ok(Self { app, owner, ann, ben, token })
    }

    /// Runs a mutation of one resource.
    pub(crate) async fn act(&self, by: &Person, mutation: &str, input: Value) -> Result<Answer> {
        let fields = if mutation == "resourceRegister" { "resources" } else { "resource" };
        self.app.mutate(Some(&by.token), mutation, input, &format!("{fields} {{ {FIELDS} }}")).await
    }

    /// As [`World::act`], and it must succeed.
    pub(crate) async fn done(&self, mutation: &str, input: Value) -> Result<Answer> {
        let answer = self.act(&self.owner, mutation, input).await?;
        assert!(answer.codes().is_empty(), "{mutation}: {}", answer.body);
        Ok(answer)
    }

    /// Registers a matter; answers its id.
    pub(crate) async fn matter(&self, external: &str) -> Result<String> {
        let item = json!({ "type": "matter", "externalId": external, "name": format!("Matter {external}") });
        Ok(self
            .done("resourceRegister", json!({ "resources": [item] }))
            .await?
            .text("/resourceRegister/resources/0/id"))
    }

    /// Makes a group with members; answers its id.
    pub(crate) async fn group(&self, name: &str, members: &[&Person]) -> Result<String> {
        let made =
            self.app.mutate(Some(&self.owner.token), "groupCreate", json!({ "name": name }), "group { id }").await?;
        let id = made.text("/groupCreate/group/id");
        if !members.is_empty() {
            let ids: Vec<&str> = members.iter().map(|member| member.member_id.as_str()).collect();
            self.on_group("groupAddMembers", json!({ "groupId": id, "memberIds": ids })).await?;
        }
        Ok(id)
    }

    /// Runs a mutation of groups, which must succeed.
    pub(crate) async fn on_group(&self, mutation: &str, input: Value) -> Result<()> {
        let answer = self.app.mutate(Some(&self.owner.token), mutation, input, "__typename").await?;
        assert!(answer.codes().is_empty(), "{mutation}: {}", answer.body);
        Ok(())
    }

    /// Asks as the host product.
    pub(crate) async fn ask(&self, document: &str, variables: Value) -> Result<Answer> {
        ask(&self.app, &self.token, Some(&self.owner.account_id), document, variables).await
    }

    /// Why somebody has access to resources, by id.
    pub(crate) async fn grounds(&self, by: &Person, of: &Person, resources: &[&str]) -> Result<Vec<Value>> {
        let references: Vec<Value> = resources.iter().map(|id| json!({ "id": id })).collect();
        let variables = json!({ "member": of.member_id, "resources": references });
        let answer = self.app.graphql(Some(&by.token), CAN_ACCESS, variables).await?;
        let all = answer.data("/canAccess").as_array().context("answers")?;
        for (one, id) in all.iter().zip(resources) {
            assert_eq!(one["allowed"], !one["ground"].is_null(), "{one}");
            assert!(one["resourceId"].is_null() || one["resourceId"] == *id, "{one}");
        }
        Ok(all.iter().map(|one| one["ground"].clone()).collect())
    }

    /// Why a member has access to one resource, by their own question.
    pub(crate) async fn ground(&self, of: &Person, resource: &str) -> Result<Value> {
        Ok(self.grounds(of, of, &[resource]).await?.remove(0))
    }
}

pub(crate) const CAN_ACCESS: &str = "query ($member: ID!, $resources: [ResourceReferenceInput!]!) {
    canAccess(memberId: $member, resources: $resources) { allowed ground resourceId } }";

/// A credential, as an operator makes it.
pub(crate) async fn token(app: &App, name: &str, scopes: &[Scope]) -> Result<String> {
    let new = NewToken { name, scopes, expires_at: None };
    Ok(service_token::create(&app.db, &new).await?.1.expose())
}

/// Asks with a service token.
pub(crate) async fn ask(
    app: &App,
    token: &str,
    account: Option<&str>,
    document: &str,
    variables: Value,
) -> Result<Answer> {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(account.map(|account| ("muster-account", account)));
    app.graphql_with(&headers, document, variables).await
}
