//! A firm with somebody of each kind, and another firm.

use anyhow::{Context as _, Result, ensure};
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::money::{self, Bought};
use crate::support::app::{App, Options, Person};

/// Who asks, in the order of all tables here. The stranger owns another account.
pub(crate) const CALLERS: [&str; 8] = [
    "nobody",
    "the stranger",
    "the administrator",
    "the member manager",
    "the billing manager",
    "the auditor",
    "the standard member",
    "the owner",
];

/// The people, and what they are asked about.
pub(crate) struct Firm {
    pub(crate) app: App,
    pub(crate) stranger: Person,
    pub(crate) administrator: Person,
    pub(crate) member_manager: Person,
    pub(crate) billing_manager: Person,
    pub(crate) auditor: Person,
    pub(crate) standard: Person,
    pub(crate) owner: Person,
    /// A standard member with a full profile.
    pub(crate) colleague: Person,
    /// Id of a standard member to whom things are done.
    pub(crate) victim: String,
    /// Id of an invited member.
    pub(crate) invited: String,
    /// Id of their invitation.
    pub(crate) invitation: String,
    /// Id of the import that brought the colleague.
    pub(crate) import: String,
    /// Id of a file that was made for the owner.
    pub(crate) export: String,
    /// Id of a unit.
    pub(crate) unit: String,
    /// Id of a role of the account's own.
    pub(crate) role: String,
    /// Id of a group that the colleague is in, with a rate on the resource.
    pub(crate) group: String,
    /// Id of a resource that is open to the colleague.
    pub(crate) resource: String,
    /// What the firm bought.
    pub(crate) bought: Bought,
    /// Things of the stranger's account.
    pub(crate) foreign: Foreign,
}

/// Ids of things of another account.
pub(crate) struct Foreign {
    pub(crate) member: String,
    pub(crate) invitation: String,
    pub(crate) import: String,
    pub(crate) export: String,
    pub(crate) upload: String,
    pub(crate) session: String,
    pub(crate) account: String,
    pub(crate) unit: String,
    pub(crate) role: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) bought: Bought,
}

const HEADER: &str =
    "email,first_name,last_name,initials,time_zone,address,city,state,zip,country,phone,subscription_type,job_title";

/// A file with one person of whom everything is known.
pub(crate) fn csv(email: &str) -> String {
    format!(
        "{HEADER}\n{email},Cora,Lane,CL,Europe/Berlin,1 Main St,Springfield,IL,62701,US,+1 212 555 0100,Attorney,Partner\n"
    )
}

impl Firm {
    pub(crate) async fn found() -> Result<Self> {
        let app =
            App::with(Options { configure: |config| config.limits.rate_limits = false, ..Options::default() }).await?;
        money::sell(&app).await?;
        let owner = app.found("olivia@harborandfinch.example", 200).await?;
        let join = async |name: &str, role| app.join(&owner, &format!("{name}@harborandfinch.example"), &[role]).await;
        let administrator = join("ada", SystemRole::Administrator).await?;
        let member_manager = join("mara", SystemRole::MemberManager).await?;
        let billing_manager = join("bill", SystemRole::BillingManager).await?;
        let auditor = join("audrey", SystemRole::Auditor).await?;
        let standard = join("stan", SystemRole::Standard).await?;
        let victim = join("vic", SystemRole::Standard).await?.member_id;
        let (import, _) = import(&app, &owner, "cora@harborandfinch.example").await?;
        let colleague = accepted(&app, "cora@harborandfinch.example").await?;
        place(&app, &owner, &colleague).await?;
        let (invitation, invited) = invite(&app, &owner, "ivy@harborandfinch.example").await?;
        let (unit, role) = (unit(&app, &owner).await?, role(&app, &owner).await?);
        let change = json!({ "memberId": colleague.member_id, "newEmail": "cora.lane@harborandfinch.example" });
        let asked = app.mutate(Some(&owner.token), "loginEmailChangeRequest", change, "__typename").await?;
        ensure!(asked.codes().is_empty(), "{}", asked.body);
        let stranger = app.found("sven@elsewhere.example", 200).await?;
        let foreign = Foreign::of(&app, &stranger).await?;
        // Uses of sessions are shown once they are written.
        app.activity.flush(&app.db).await?;
        let (group, resource) = things(&app, &owner, &colleague).await?;
        let export = export(&app, &owner).await?;
        let bought = money::buy(&app, &owner).await?;
        let (victim, app_ready) = (victim, app);
        Ok(Self {
            app: app_ready,
            stranger,
            administrator,
            member_manager,
            billing_manager,
            auditor,
            standard,
            owner,
            colleague,
            victim,
            invited,
            invitation,
            import,
            export,
            unit,
            role,
            group,
            resource,
            bought,
            foreign,
        })
    }

    /// All callers with their tokens.
    pub(crate) fn callers(&self) -> [(&'static str, Option<&str>); 8] {
        std::array::from_fn(|index| (CALLERS[index], self.caller(index).map(|person| person.token.as_str())))
    }

    /// A caller; none for nobody.
    pub(crate) fn caller(&self, index: usize) -> Option<&Person> {
        [
            None,
            Some(&self.stranger),
            Some(&self.administrator),
            Some(&self.member_manager),
            Some(&self.billing_manager),
            Some(&self.auditor),
            Some(&self.standard),
            Some(&self.owner),
        ][index]
    }

    /// Lets the owner do something to a member's status; a member who stands there already stays.
    pub(crate) async fn set_status(&self, mutation: &str, member: &str) -> Result<()> {
        let answer =
            self.app.mutate(Some(&self.owner.token), mutation, json!({ "memberId": member }), "__typename").await?;
        ensure!(answer.codes().is_empty() || answer.codes() == ["WRONG_STATUS"], "{}", answer.body);
        Ok(())
    }

    /// Lets the owner run a mutation; answers its input.
    pub(crate) async fn after(&self, mutation: &str, input: Value) -> Result<Value> {
        let answer = self.app.mutate(Some(&self.owner.token), mutation, input.clone(), "__typename").await?;
        ensure!(answer.codes().is_empty(), "{}", answer.body);
        Ok(input)
    }

    /// A further session of somebody in the account they belong to here: its token and id.
    pub(crate) async fn session(&self, person: &Person) -> Result<(String, String)> {
        session(&self.app, person).await
    }

    /// An invitation by the owner to a fresh address, sent or not.
    pub(crate) async fn fresh(&self, send: bool) -> Result<(String, String)> {
        let email = format!("{}@harborandfinch.example", uuid::Uuid::new_v4().simple());
        let role = SystemRole::Standard.id().to_string();
        let input = json!({ "invitations": [{ "email": email, "roleIds": [role] }], "send": send });
        let answer = self.app.mutate(Some(&self.owner.token), "memberInvite", input, "invitations { id }").await?;
        // A mail may be asked for again a minute after the last one.
        self.app.pass(SignedDuration::from_secs(61));
        Ok((answer.text("/memberInvite/invitations/0/id"), email))
    }
}

impl Foreign {
    async fn of(app: &App, stranger: &Person) -> Result<Self> {
        let (invitation, _) = invite(app, stranger, "sid@elsewhere.example").await?;
        let (import, upload) = import(app, stranger, "sue@elsewhere.example").await?;
        let (_, session) = session(app, stranger).await?;
        let (member, account) = (stranger.member_id.clone(), stranger.account_id.clone());
        let (unit, role) = (unit(app, stranger).await?, role(app, stranger).await?);
        let (group, resource) = things(app, stranger, stranger).await?;
        let bought = money::buy(app, stranger).await?;
        let export = export(app, stranger).await?;
        Ok(Self { member, invitation, import, export, upload, session, account, unit, role, group, resource, bought })
    }
}

/// A group with a member, and a resource that is open to them and on which the group has a rate: their ids.
async fn things(app: &App, by: &Person, member: &Person) -> Result<(String, String)> {
    let token = Some(by.token.as_str());
    let name = format!("Group {}", uuid::Uuid::new_v4().simple());
    let group = app.mutate(token, "groupCreate", json!({ "name": name }), "group { id }").await?;
    let group = group.text("/groupCreate/group/id");
    let members = json!({ "groupId": group, "memberIds": [member.member_id] });
    app.mutate(token, "groupAddMembers", members, "__typename").await?;
    let item = json!({ "type": "matter", "externalId": name, "name": "Smith v. Jones" });
    let made = app.mutate(token, "resourceRegister", json!({ "resources": [item] }), "resources { id }").await?;
    let resource = made.text("/resourceRegister/resources/0/id");
    let open = json!({ "resourceId": resource, "memberIds": [member.member_id] });
    app.mutate(token, "resourceGrant", open, "__typename").await?;
    let rate = json!({ "resourceId": resource, "groupId": group, "rate": { "amount": "1", "currency": "USD" } });
    app.mutate(token, "resourceRateSet", rate, "__typename").await?;
    Ok((group, resource))
}

/// Invites somebody: the ids of the invitation and of the invited member.
async fn invite(app: &App, by: &Person, email: &str) -> Result<(String, String)> {
    let answer = app.invite(by, email, &[SystemRole::Standard]).await?;
    Ok((answer.text("/memberInvite/invitations/0/id"), answer.text("/memberInvite/invitations/0/member/id")))
}

/// Makes a unit; its id.
pub(crate) async fn unit(app: &App, by: &Person) -> Result<String> {
    let input = json!({ "name": fresh_name() });
    Ok(app.mutate(Some(&by.token), "unitCreate", input, "unit { id }").await?.text("/unitCreate/unit/id"))
}

/// Makes a role without permissions; its id.
pub(crate) async fn role(app: &App, by: &Person) -> Result<String> {
    let input = json!({ "name": fresh_name() });
    Ok(app.mutate(Some(&by.token), "roleCreate", input, "role { id }").await?.text("/roleCreate/role/id"))
}

/// A name that nothing has.
pub(crate) fn fresh_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Lets an invited person with known names accept and sign in.
async fn accepted(app: &App, email: &str) -> Result<Person> {
    let letter = app.letter(email).await?;
    let accepted = app.accept(&letter.token(), "Cora", "Lane").await?;
    ensure!(accepted.codes().is_empty(), "{}", accepted.body);
    app.person(email).await
}

/// Gives the colleague a unit, a group and dates, so that there is something to see of each.
async fn place(app: &App, owner: &Person, colleague: &Person) -> Result<()> {
    let member: domain::id::MemberId = colleague.member_id.parse()?;
    sqlx::query(
        "WITH u AS (INSERT INTO unit (account_id, unit_id, name, created_at)
                    SELECT account_id, gen_random_uuid(), 'Boston', now() FROM member WHERE member_id = $1 RETURNING account_id, unit_id),
              g AS (INSERT INTO member_group (account_id, group_id, name, created_at)
                    SELECT account_id, gen_random_uuid(), 'Litigation', now() FROM member WHERE member_id = $1 RETURNING account_id, group_id),
              m AS (INSERT INTO group_member (account_id, group_id, member_id, added_at) SELECT account_id, group_id, $1, now() FROM g)
         INSERT INTO member_unit (account_id, unit_id, member_id, added_at) SELECT account_id, unit_id, $1, now() FROM u",
    )
    .bind(member)
    .execute(&app.db.pool)
    .await?;
    let document = "query ($id: ID!) { node(id: $id) { ... on Member { version } } }";
    let version = app.graphql(Some(&owner.token), document, json!({ "id": colleague.member_id })).await?;
    let input = json!({ "memberId": colleague.member_id, "expectedVersion": version.data("/node/version"),
                        "validFrom": "2020-01-01", "validUntil": "2199-12-31" });
    let answer = app.mutate(Some(&owner.token), "memberUpdate", input, "__typename").await?;
    ensure!(answer.codes().is_empty(), "{}", answer.body);
    Ok(())
}

async fn session(app: &App, person: &Person) -> Result<(String, String)> {
    let password = crate::support::app::PASSWORD;
    let input = json!({ "email": person.email, "password": password, "accountId": person.account_id });
    let token = app.mutate(None, "sessionCreate", input, "token").await?.text("/sessionCreate/token");
    let own = app.graphql(Some(&token), "{ viewer { session { id } } }", Value::Null).await?;
    Ok((token, own.text("/viewer/session/id")))
}

impl Firm {
    /// An import that no worker takes up.
    pub(crate) async fn unfinished_import(&self) -> Result<String> {
        let made = "INSERT INTO member_import (account_id, import_id, upload_id, created_by, send_welcome_email, state, size_bytes, created_at)
                    SELECT account_id, gen_random_uuid(), gen_random_uuid(), created_by, false, 'QUEUED', 0, now()
                    FROM member_import LIMIT 1 RETURNING 'imp_' || replace(import_id::text, '-', '')";
        Ok(sqlx::query_scalar(made).fetch_one(&self.app.db.pool).await?)
    }
}

/// Makes an upload with a file of one person in it.
pub(crate) async fn upload(app: &App, by: &Person, email: &str) -> Result<String> {
    let input = json!({ "fileName": "people.csv" });
    let made = app.mutate(Some(&by.token), "uploadCreate", input, "upload { id url }").await?;
    let put = app.http.put(made.text("/uploadCreate/upload/url")).body(csv(email)).send().await?;
    ensure!(put.status().is_success(), "{}", put.status());
    Ok(made.text("/uploadCreate/upload/id"))
}

/// Has a file of members made; its id.
async fn export(app: &App, by: &Person) -> Result<String> {
    let made = app.mutate(Some(&by.token), "memberExportCreate", json!({}), "export { id }").await?;
    app.settle().await?;
    Ok(made.text("/memberExportCreate/export/id"))
}

/// Imports one person with a mail: the ids of the import and of its upload.
async fn import(app: &App, by: &Person, email: &str) -> Result<(String, String)> {
    let upload = upload(app, by, email).await?;
    let input = json!({ "uploadId": upload, "sendWelcomeEmail": true });
    let made = app.mutate(Some(&by.token), "memberImportCreate", input, "memberImport { id }").await?;
    let id = made.text("/memberImportCreate/memberImport/id");
    app.settle().await?;
    let read = app
        .graphql(Some(&by.token), "query ($id: ID!) { memberImport(id: $id) { rowsInvited } }", json!({ "id": id }))
        .await?;
    ensure!(read.data("/memberImport/rowsInvited") == 1, "{}", read.body);
    app.mailbox.to(email)?.first().context("a mail")?;
    Ok((id, upload))
}
