//! A firm with somebody of each kind, and another firm.

use anyhow::{Context as _, Result, ensure};
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

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
    /// Things of the stranger's account.
    pub(crate) foreign: Foreign,
}

/// Ids of things of another account.
pub(crate) struct Foreign {
    pub(crate) member: String,
    pub(crate) invitation: String,
    pub(crate) import: String,
    pub(crate) upload: String,
    pub(crate) session: String,
    pub(crate) account: String,
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
        let (invitation, invited) = invite(&app, &owner, "ivy@harborandfinch.example").await?;
        let change = json!({ "memberId": colleague.member_id, "newEmail": "cora.lane@harborandfinch.example" });
        let asked = app.mutate(Some(&owner.token), "loginEmailChangeRequest", change, "__typename").await?;
        ensure!(asked.codes().is_empty(), "{}", asked.body);
        let stranger = app.found("sven@elsewhere.example", 200).await?;
        let foreign = Foreign::of(&app, &stranger).await?;
        // Uses of sessions are shown once they are written.
        app.activity.flush(&app.db).await?;
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
        Ok(Self { member, invitation, import, upload, session, account })
    }
}

/// Invites somebody: the ids of the invitation and of the invited member.
async fn invite(app: &App, by: &Person, email: &str) -> Result<(String, String)> {
    let answer = app.invite(by, email, &[SystemRole::Standard]).await?;
    Ok((answer.text("/memberInvite/invitations/0/id"), answer.text("/memberInvite/invitations/0/member/id")))
}

/// Lets an invited person with known names accept and sign in.
async fn accepted(app: &App, email: &str) -> Result<Person> {
    let letter = app.letter(email).await?;
    let accepted = app.accept(&letter.token(), "Cora", "Lane").await?;
    ensure!(accepted.codes().is_empty(), "{}", accepted.body);
    app.person(email).await
}

async fn session(app: &App, person: &Person) -> Result<(String, String)> {
    let password = crate::support::app::PASSWORD;
    let input = json!({ "email": person.email, "password": password, "accountId": person.account_id });
    let token = app.mutate(None, "sessionCreate", input, "token").await?.text("/sessionCreate/token");
    let own = app.graphql(Some(&token), "{ viewer { session { id } } }", Value::Null).await?;
    Ok((token, own.text("/viewer/session/id")))
}

/// Makes an upload with a file of one person in it.
pub(crate) async fn upload(app: &App, by: &Person, email: &str) -> Result<String> {
    let input = json!({ "fileName": "people.csv" });
    let made = app.mutate(Some(&by.token), "uploadCreate", input, "upload { id url }").await?;
    let put = app.http.put(made.text("/uploadCreate/upload/url")).body(csv(email)).send().await?;
    ensure!(put.status().is_success(), "{}", put.status());
    Ok(made.text("/uploadCreate/upload/id"))
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
