//! The links, and the pages they lead to.

use anyhow::Result;
use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::pages::assert_usable;

#[tokio::test]
async fn links_that_are_over_say_so() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    assert!(ask_for(&app, &owner, &ben, NEW).await?.codes().is_empty());
    let first = letter(&app, NEW, "Confirm").await?.token();
    assert!(ask_for(&app, &owner, &ben, "b@harborandfinch.example").await?.codes().is_empty());
    assert_eq!(follow(&app, "Confirm", &first).await?, "TOKEN_INVALID", "another one took its place");
    let second = letter(&app, "b@harborandfinch.example", "Confirm").await?.token();
    for act in ["Approve", "Revert"] {
        assert_eq!(follow(&app, act, &second).await?, "TOKEN_INVALID", "a link is good for one thing");
    }
    app.pass(SignedDuration::from_hours(24));
    assert_eq!(follow(&app, "Confirm", &second).await?, "TOKEN_EXPIRED");
    assert_eq!(seen(&app, &owner, &ben.member_id).await?.1, serde_json::Value::Null);
    assert!(
        ask_for(&app, &owner, &ben, "b@harborandfinch.example").await?.codes().is_empty(),
        "what is over blocks nobody"
    );
    let cancel = json!({});
    let own = app.mutate(Some(&ben.token), "loginEmailChangeCancel", cancel.clone(), "member { id }").await?;
    assert!(own.codes().is_empty(), "{}", own.body);
    assert_eq!(
        app.mutate(Some(&ben.token), "loginEmailChangeCancel", cancel, "").await?.codes(),
        ["NO_PENDING_CHANGE"]
    );
    app.pass(SignedDuration::from_hours(9 * 24));
    app.sweep("spent.delete").await?;
    assert_eq!(app.look("SELECT count(*) FROM email_change").await?.as_deref(), Some("0"));
    app.finish().await
}

/// Opens a link twice, as scanners of mail do, and then uses its form.
async fn press(app: &App, link: &str) -> Result<(String, u16)> {
    for _ in 0..2 {
        let shown = app.http.get(link).send().await?;
        assert_eq!(shown.status().as_u16(), 200);
        assert!(shown.headers()["content-security-policy"].to_str()?.starts_with("default-src 'none'"));
        assert_usable(&shown.text().await?);
    }
    let done = app.http.post(link).header("origin", &app.url).form::<[(&str, &str)]>(&[]).send().await?;
    let status = done.status().as_u16();
    let html = done.text().await?;
    assert_usable(&html);
    Ok((html, status))
}

#[tokio::test]
async fn the_pages_show_and_only_their_buttons_act() -> Result<()> {
    let (app, owner, ben) = firm().await?;
    further_account(&app, &ben).await?;
    assert!(ask_for(&app, &owner, &ben, NEW).await?.codes().is_empty());
    let confirm = letter(&app, NEW, "Confirm").await?.link();
    let (html, status) = press(&app, &confirm).await?;
    assert!(status == 200 && html.contains("one more consent") && !html.contains(BEN), "{html}");
    let (html, _) = press(&app, &letter(&app, BEN, "another address").await?.link()).await?;
    assert!(html.contains("Your address is changed"), "{html}");
    let gone = app.http.get(&confirm).send().await?;
    assert_eq!(gone.status().as_u16(), 410);
    let (html, _) = press(&app, &letter(&app, BEN, "was changed").await?.link()).await?;
    assert!(html.contains("Your old address is back"), "{html}");

    assert!(ask_for(&app, &owner, &ben, "b@harborandfinch.example").await?.codes().is_empty());
    let keep = letter(&app, BEN, "about to change").await;
    assert!(keep.is_err(), "they are asked, not told");
    let sofia = "sofia@secondfirm.example";
    let cleo = app.join(&owner, "cleo@harborandfinch.example", &[SystemRole::Standard]).await?;
    app.found(sofia, 3).await?;
    assert!(ask_for(&app, &owner, &cleo, sofia).await?.codes().is_empty());
    let confirm = letter(&app, sofia, "Confirm").await?.link();
    let (html, status) = press(&app, &confirm).await?;
    assert!(status == 422 && html.contains("login of somebody else"), "{html}");
    let (html, _) = press(&app, &letter(&app, &cleo.email, "about to change").await?.link()).await?;
    assert!(html.contains("Your address stays as it is"), "{html}");
    app.finish().await
}
