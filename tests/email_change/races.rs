//! At once.

use anyhow::Result;
use serde_json::json;

use super::*;

#[tokio::test]
async fn of_two_people_who_want_one_address_one_gets_it() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    let cleo = app.join(&owner, "cleo@harborandfinch.example", &[SystemRole::Standard]).await?;
    assert!(ask_for(&app, &owner, &ben, NEW).await?.codes().is_empty());
    assert!(ask_own(&app, &cleo, NEW).await?.codes().is_empty());
    app.settle().await?;
    let tokens: Vec<String> = app.mailbox.to(NEW)?.iter().map(Letter::token).collect();
    assert_eq!(tokens.len(), 2);
    let (one, other) = tokio::try_join!(follow(&app, "Confirm", &tokens[0]), follow(&app, "Confirm", &tokens[1]))?;
    let mut answers = [one, other];
    answers.sort();
    assert_eq!(answers, ["CHANGED", "EMAIL_TAKEN"]);
    assert_eq!(app.look(&format!("SELECT count(*) FROM member WHERE email = '{NEW}'")).await?.as_deref(), Some("1"));
    app.finish().await
}

/// Whatever comes first: nobody is signed in after the change by what was proven before it, and no place keeps the old address.
#[tokio::test]
async fn a_change_and_what_hangs_on_the_login_fit_together() -> Result<()> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let app = App::with(crate::support::app::Options { configure, ..Default::default() }).await?;
    let owner = app.found(OWNER, 50).await?;
    let sofia = app.found("sofia@secondfirm.example", 50).await?;
    for round in 0..6 {
        let (old, new) = (format!("old{round}@harborandfinch.example"), format!("new{round}@harborandfinch.example"));
        let ben = app.join(&owner, &old, &[SystemRole::Standard]).await?;
        app.invite(&sofia, &old, &[SystemRole::Standard]).await?;
        let invitation = letter(&app, &old, "invites you").await?.token();
        assert!(ask_own(&app, &ben, &new).await?.codes().is_empty());
        let confirm = letter(&app, &new, "Confirm").await?.token();
        let accept = json!({ "token": invitation, "password": PASSWORD, "firstName": "Jo", "lastName": "Doe" });
        let (changed, _, _, _) = tokio::try_join!(
            follow(&app, "Confirm", &confirm),
            sign_in(&app, &old, PASSWORD),
            app.mutate(None, "invitationAccept", accept, ""),
            app.mutate(Some(&ben.token), "accountCreate", json!({ "name": "Mine" }), ""),
        )?;
        assert_eq!(changed, "CHANGED");
        let kept =
            app.look("SELECT count(*) FROM member m JOIN app_user u USING (user_id) WHERE m.email <> u.email").await?;
        assert_eq!(kept.as_deref(), Some("0"), "round {round}");
        let sessions =
            format!("SELECT count(*) FROM session s JOIN app_user u USING (user_id) WHERE u.email = '{new}'");
        assert_eq!(app.look(&sessions).await?.as_deref(), Some("0"), "round {round}");
    }
    app.close().await;
    Ok(())
}
