//! Accounts: a further one, its name, its policy, and what still works when it can only be read.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{Answer, App, Options, PASSWORD, Person};

const OWNER: &str = "olivia@harborandfinch.example";
const POLICY: &str =
    "account { name policy { invitationLifetimeSeconds refusePersonalDomains allowedPersonalDomains allowedDomains } }";

async fn policy(app: &App, by: &Person, input: Value) -> Result<Answer> {
    app.mutate(Some(&by.token), "accountPolicyUpdate", input, POLICY).await
}

async fn kinds(app: &App, account: &str) -> Result<Vec<(i64, String)>> {
    let account: domain::id::AccountId = account.parse()?;
    let kinds = sqlx::query_as("SELECT seq, kind FROM event WHERE account_id = $1 ORDER BY seq");
    Ok(kinds.bind(account).fetch_all(&app.db.pool).await?)
}

#[tokio::test]
async fn a_further_account_has_its_creator_as_owner_and_a_feed_of_its_own() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 5).await?;
    let ben = app.join(&olivia, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let before = kinds(&app, &olivia.account_id).await?;
    let input = json!({ "name": "  Brandt Law ", "timeZone": "Europe/Berlin" });
    let created = app.mutate(Some(&ben.token), "accountCreate", input, "accountId").await?;
    let account = created.text("/accountCreate/accountId");
    assert_eq!(kinds(&app, &account).await?, [(1, "account.created".to_owned())]);
    assert_eq!(kinds(&app, &olivia.account_id).await?, before, "no business of the account it was asked from");

    let entered = json!({ "accountId": account });
    let token = app.mutate(Some(&ben.token), "sessionSwitchAccount", entered, "token").await?;
    let token = token.text("/sessionSwitchAccount/token");
    let document = "{ viewer { member { isOwner firstName lastName email accountRole }
                      account { name timeZone owner { email } licensePools { owned inUse } } } }";
    let there = app.graphql(Some(&token), document, Value::Null).await?;
    assert_eq!(there.text("/viewer/account/name"), "Brandt Law");
    assert_eq!(there.text("/viewer/account/timeZone"), "Europe/Berlin");
    assert_eq!(there.data("/viewer/account/licensePools/0"), &json!({ "owned": 3, "inUse": 1 }));
    let me = json!({ "isOwner": true, "firstName": "Jo", "lastName": "Doe", "email": ben.email, "accountRole": "PRIMARY_SUBSCRIBER" });
    assert_eq!(there.data("/viewer/member"), &me);
    assert_eq!(there.text("/viewer/account/owner/email"), ben.email);

    for (input, code, field) in [
        (json!({ "name": "" }), "REQUIRED", "name"),
        (json!({ "name": "x".repeat(101) }), "TOO_LONG", "name"),
        (json!({ "name": "Ok", "timeZone": "Nowhere" }), "INVALID_TIME_ZONE", "timeZone"),
    ] {
        let refused = app.mutate(Some(&token), "accountCreate", input, "accountId").await?;
        assert_eq!(refused.codes(), [code]);
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", field]));
    }
    let nobody = app.mutate(None, "accountCreate", json!({ "name": "Ok" }), "accountId").await?;
    assert_eq!(nobody.errors(), ["UNAUTHENTICATED"]);
    app.finish().await
}

#[tokio::test]
async fn only_who_may_update_the_account_renames_it() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 5).await?;
    let other = app.found("sofia@secondfirm.example", 3).await?;
    let manager = app.join(&olivia, "max@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let before = kinds(&app, &olivia.account_id).await?.len();
    let refused = app.mutate(Some(&manager.token), "accountRename", json!({ "name": "Mine" }), POLICY).await?;
    assert_eq!(refused.codes(), ["NOT_PERMITTED"]);
    assert_eq!(refused.user_errors()[0]["permissions"], json!(["account.update"]));
    for (name, code) in [("", "REQUIRED"), ("A\u{202e}B", "INVALID_CHARACTERS"), (&*"ä".repeat(101), "TOO_LONG")] {
        let refused = app.mutate(Some(&olivia.token), "accountRename", json!({ "name": name }), POLICY).await?;
        assert_eq!(refused.codes(), [code], "{name:?}");
    }
    for name in ["Finch & Daughters", "Finch & Daughters"] {
        let renamed = app.mutate(Some(&olivia.token), "accountRename", json!({ "name": name }), POLICY).await?;
        assert_eq!(renamed.text("/accountRename/account/name"), name);
    }
    let events = kinds(&app, &olivia.account_id).await?;
    assert_eq!(events[before..].iter().map(|(_, kind)| kind.as_str()).collect::<Vec<_>>(), ["account.renamed"]);
    let untouched = app.graphql(Some(&other.token), "{ account { name } }", Value::Null).await?;
    assert_eq!(untouched.text("/account/name"), "Harbor & Finch");
    app.finish().await
}

#[tokio::test]
async fn the_policy_keeps_to_its_ranges() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 5).await?;
    let manager = app.join(&olivia, "max@harborandfinch.example", &[SystemRole::MemberManager]).await?;
    let set = policy(&app, &olivia, json!({ "invitationLifetimeSeconds": 3600 })).await?;
    let defaults = json!({
        "invitationLifetimeSeconds": 3600, "refusePersonalDomains": true, "allowedPersonalDomains": [], "allowedDomains": [],
    });
    assert_eq!(set.data("/accountPolicyUpdate/account/policy"), &defaults, "what is left out stays");
    for seconds in [3599, 0, -1, 2_592_001] {
        let refused = policy(&app, &olivia, json!({ "invitationLifetimeSeconds": seconds })).await?;
        assert_eq!(refused.codes(), ["OUT_OF_RANGE"], "{seconds}");
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", "invitationLifetimeSeconds"]));
    }
    assert!(policy(&app, &olivia, json!({ "invitationLifetimeSeconds": 2_592_000 })).await?.codes().is_empty());
    for field in ["allowedDomains", "allowedPersonalDomains"] {
        for domain in ["localhost", "a b.example", "", "@example.com", "exa_mple.com", "example..com"] {
            let refused = policy(&app, &olivia, json!({ field: ["good.example", domain] })).await?;
            assert_eq!(refused.codes(), ["INVALID_DOMAIN"], "{domain:?}");
            assert_eq!(refused.user_errors()[0]["field"], json!(["input", field, "1"]));
        }
        let many: Vec<String> = (0..101).map(|n| format!("d{n}.example")).collect();
        assert_eq!(policy(&app, &olivia, json!({ field: many })).await?.codes(), ["TOO_MANY"]);
    }
    let set = policy(&app, &olivia, json!({ "allowedDomains": ["B.Example", "bücher.example", "b.example"] })).await?;
    let domains = set.data("/accountPolicyUpdate/account/policy/allowedDomains");
    assert_eq!(domains, &json!(["b.example", "xn--bcher-kva.example"]), "as they are compared, each once");
    let refused = policy(&app, &manager, json!({ "refusePersonalDomains": false })).await?;
    assert_eq!(refused.codes(), ["NOT_PERMITTED"]);
    app.finish().await
}

#[tokio::test]
async fn the_policy_about_domains_binds_the_next_invitation() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| {
        config.mail.allowed_personal_domains = vec!["Web.DE".to_owned()];
    };
    let app = App::with(Options { configure, ..Options::default() }).await?;
    let olivia = app.found(OWNER, 20).await?;
    let invite = async |email: &str| -> Result<Vec<String>> {
        Ok(app.invite(&olivia, email, &[SystemRole::Standard]).await?.codes())
    };
    assert_eq!(invite("a@gmail.com").await?, ["PERSONAL_DOMAIN"]);
    policy(&app, &olivia, json!({ "allowedPersonalDomains": ["GMAIL.com"] })).await?;
    assert_eq!(invite("a@gmail.com").await?, Vec::<String>::new());
    assert_eq!(invite("a@yahoo.com").await?, ["PERSONAL_DOMAIN"], "only the one that is named");
    assert_eq!(invite("a@web.de").await?, Vec::<String>::new(), "the operator allows it everywhere");
    policy(&app, &olivia, json!({ "refusePersonalDomains": false, "allowedPersonalDomains": [] })).await?;
    assert_eq!(invite("b@yahoo.com").await?, Vec::<String>::new());
    policy(&app, &olivia, json!({ "allowedDomains": ["harborandfinch.example"] })).await?;
    assert_eq!(invite("c@yahoo.com").await?, ["DOMAIN_NOT_ALLOWED"]);
    assert_eq!(invite("c@harborandfinch.example").await?, Vec::<String>::new());
    assert_eq!(invite("c@london.harborandfinch.example").await?, Vec::<String>::new(), "and what is below");
    assert_eq!(invite("c@notharborandfinch.example").await?, ["DOMAIN_NOT_ALLOWED"]);
    policy(&app, &olivia, json!({ "allowedDomains": [] })).await?;
    assert_eq!(invite("c@yahoo.com").await?, Vec::<String>::new());

    policy(&app, &olivia, json!({ "invitationLifetimeSeconds": 3600 })).await?;
    assert_eq!(invite("short@harborandfinch.example").await?, Vec::<String>::new());
    let short = app.letter("short@harborandfinch.example").await?;
    assert!(short.text.contains("1 hour"), "{}", short.text);
    app.pass(SignedDuration::from_mins(59));
    let link = "query ($token: String!) { invitationByToken(token: $token) { userErrors { code } } }";
    assert_eq!(app.graphql(None, link, json!({ "token": short.token() })).await?.codes(), Vec::<String>::new());
    app.pass(SignedDuration::from_mins(1));
    assert_eq!(app.accept(&short.token(), "Sho", "Rt").await?.codes(), ["INVITATION_EXPIRED"]);
    app.finish().await
}

#[tokio::test]
async fn a_read_only_account_refuses_what_members_ask_and_nothing_else() -> Result<()> {
    let app = App::start().await?;
    let olivia = app.found(OWNER, 10).await?;
    let ben = app.join(&olivia, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    let invited = app.invite(&olivia, "cleo@harborandfinch.example", &[SystemRole::Standard]).await?;
    let cleo = app.letter("cleo@harborandfinch.example").await?.token();
    let drafted = json!({ "invitations": [{ "email": "dan@harborandfinch.example",
        "roleIds": [SystemRole::Standard.id().to_string()] }], "send": false });
    let drafted = app.mutate(Some(&olivia.token), "memberInvite", drafted.clone(), "invitations { id }").await?;
    let (invitation, draft) =
        (invited.text("/memberInvite/invitations/0/id"), drafted.text("/memberInvite/invitations/0/id"));
    app.pass(SignedDuration::from_mins(2));
    // There is no way to cancel an account yet; this is what it will do.
    sqlx::query("UPDATE account_feed SET writable = false").execute(&app.db.pool).await?;
    let before = kinds(&app, &olivia.account_id).await?;

    let standard = SystemRole::Standard.id().to_string();
    let auditor = SystemRole::Auditor.id().to_string();
    let asked = [
        ("accountRename", json!({ "name": "Other" })),
        ("accountPolicyUpdate", json!({ "refusePersonalDomains": false })),
        ("memberInvite", json!({ "invitations": [{ "email": "eve@harborandfinch.example", "roleIds": [standard] }] })),
        ("invitationSend", json!({ "invitationIds": [draft] })),
        ("invitationResend", json!({ "invitationIds": [invitation] })),
        ("invitationUpdate", json!({ "invitationId": invitation, "firstName": "Cleo" })),
        ("invitationRevoke", json!({ "invitationId": invitation })),
        ("memberSuspend", json!({ "memberId": ben.member_id })),
        ("memberDeactivate", json!({ "memberId": ben.member_id })),
        ("memberAssignRoles", json!({ "memberId": ben.member_id, "roleIds": [auditor] })),
        ("uploadCreate", json!({ "fileName": "members.csv" })),
    ];
    for (mutation, input) in asked {
        let refused = app.mutate(Some(&olivia.token), mutation, input, "").await?;
        assert_eq!(refused.codes(), ["ACCOUNT_READ_ONLY"], "{mutation}: {}", refused.body);
    }
    assert_eq!(app.accept(&cleo, "Cleo", "Carr").await?.codes(), ["ACCOUNT_READ_ONLY"]);
    let declined = app.mutate(None, "invitationDecline", json!({ "token": cleo }), "declined").await?;
    assert_eq!(declined.codes(), ["ACCOUNT_READ_ONLY"]);
    assert_eq!(kinds(&app, &olivia.account_id).await?, before);
    assert_eq!(app.look("SELECT count(*) FROM app_user").await?.as_deref(), Some("2"), "nobody joined");

    let token = app.sign_in(OWNER).await?;
    let read = app.graphql(Some(&token), "{ account { name membersCount } }", Value::Null).await?;
    assert_eq!(read.data("/account/membersCount"), 4);
    let changed = json!({ "currentPassword": PASSWORD, "newPassword": "staple paper clip" });
    assert!(app.mutate(Some(&token), "passwordChange", changed, "").await?.codes().is_empty());
    app.pass(SignedDuration::from_hours(25));
    assert_eq!(app.sweep("invitations.lapse").await?, 1);
    assert!(app.mutate(Some(&token), "sessionRevoke", json!({}), "").await?.codes().is_empty());
    app.finish().await
}
