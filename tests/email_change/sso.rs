//! Single sign-on, as far as there is any.

use anyhow::Result;
use serde_json::{Value, json};

use super::*;

async fn set(app: &App, by: &Person, input: Value) -> Result<Answer> {
    app.mutate(Some(&by.token), "accountSsoPolicyUpdate", input, "account { ssoPolicy { required exceptions } }").await
}

#[tokio::test]
async fn under_single_sign_on_only_exceptions_change_their_own_address() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    let none =
        app.graphql(Some(&owner.token), "{ account { ssoPolicy { required exceptions } } }", Value::Null).await?;
    assert_eq!(none.data("/account/ssoPolicy"), &json!({ "required": false, "exceptions": [] }));
    assert!(ask_own(&app, &ben, NEW).await?.codes().is_empty());
    assert!(set(&app, &owner, json!({ "required": true })).await?.codes().is_empty());
    assert_eq!(confirm(&app, NEW).await?, "SSO_REQUIRED", "looked at again");
    assert_eq!(ask_own(&app, &ben, "b@harborandfinch.example").await?.codes(), ["SSO_REQUIRED"]);
    assert_eq!(ask_own(&app, &owner, "o@harborandfinch.example").await?.codes(), ["SSO_REQUIRED"], "the owner, too");
    assert_eq!(set(&app, &ben, json!({ "required": false })).await?.codes(), ["NOT_PERMITTED"]);

    let excepted = set(&app, &owner, json!({ "exceptions": [BEN.to_uppercase()] })).await?;
    assert_eq!(
        excepted.data("/accountSsoPolicyUpdate/account/ssoPolicy"),
        &json!({ "required": true, "exceptions": [BEN] })
    );
    assert!(ask_own(&app, &ben, NEW).await?.codes().is_empty());
    assert_eq!(confirm(&app, NEW).await?, "CHANGED");
    let after = app.graphql(Some(&owner.token), "{ account { ssoPolicy { exceptions } } }", Value::Null).await?;
    assert_eq!(after.data("/account/ssoPolicy/exceptions"), &json!([NEW]), "it follows the member");
    let ben = Person { token: app.sign_in(NEW).await?, ..ben };
    assert!(set(&app, &owner, json!({ "exceptions": [] })).await?.codes().is_empty());
    assert_eq!(ask_own(&app, &ben, BEN).await?.codes(), ["SSO_REQUIRED"]);
    assert!(ask_for(&app, &owner, &ben, BEN).await?.codes().is_empty(), "administrators do it for them");
    app.finish().await
}

#[tokio::test]
async fn exceptions_are_members_and_go_with_them() -> Result<()> {
    let (app, owner, _) = firm().await?;
    for (exceptions, code, index) in
        [(json!([BEN, "nobody@harborandfinch.example"]), "NOT_FOUND", "1"), (json!(["x"]), "INVALID_EMAIL", "0")]
    {
        let refused = set(&app, &owner, json!({ "exceptions": exceptions })).await?;
        assert_eq!(refused.codes(), [code]);
        assert_eq!(refused.user_errors()[0]["field"], json!(["input", "exceptions", index]));
    }
    let many: Vec<String> = (0..501).map(|number| format!("n{number}@harborandfinch.example")).collect();
    assert_eq!(set(&app, &owner, json!({ "exceptions": many })).await?.codes(), ["TOO_MANY"]);
    let invited = app.invite(&owner, "ivy@harborandfinch.example", &[SystemRole::Standard]).await?;
    assert!(set(&app, &owner, json!({ "exceptions": ["ivy@harborandfinch.example", BEN] })).await?.codes().is_empty());
    let revoke = json!({ "invitationId": invited.text("/memberInvite/invitations/0/id") });
    assert!(app.mutate(Some(&owner.token), "invitationRevoke", revoke, "").await?.codes().is_empty());
    let left = app.graphql(Some(&owner.token), "{ account { ssoPolicy { exceptions } } }", Value::Null).await?;
    assert_eq!(left.data("/account/ssoPolicy/exceptions"), &json!([BEN]));
    app.finish().await
}
