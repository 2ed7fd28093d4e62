//! Links to files: for whom, and for how long.

use super::*;

#[tokio::test]
async fn a_link_hands_the_file_out_for_ten_minutes() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let id = ask(&app, &owner, json!({})).await?;
    app.settle().await?;
    let export = look(&app, &owner, &id).await?;
    assert_eq!(export["progress"], json!({ "done": 1, "total": 1 }));
    let url = export["url"].as_str().context("a link")?;
    let answer = app.http.get(url).send().await?;
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let name = export["fileName"].as_str().context("a name")?;
    let extension = std::path::Path::new(name).extension();
    assert!(name.starts_with("members-20") && extension.is_some_and(|end| end == "csv"), "{name}");
    assert_eq!(header("content-disposition"), format!("attachment; filename=\"{name}\""));
    assert_eq!(header("content-type"), "text/csv; charset=utf-8");
    assert_eq!((header("cache-control").as_str(), header("x-content-type-options").as_str()), ("no-store", "nosniff"));
    assert_eq!(export["sizeBytes"].to_string(), header("content-length"));
    assert_eq!(answer.bytes().await?.len().to_string(), export["sizeBytes"].to_string());

    app.pass(SignedDuration::from_mins(9));
    assert_eq!(get(&app, url).await?.0, 200);
    app.pass(SignedDuration::from_mins(1));
    assert_eq!(get(&app, url).await?.0, 404);
    let next = look(&app, &owner, &id).await?;
    assert_eq!(get(&app, next["url"].as_str().unwrap()).await?.0, 200, "read again, it is another one");
    app.finish().await
}

#[tokio::test]
async fn whatever_is_wrong_with_a_link_is_answered_alike() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Auditor]).await?;
    let unknown = get(&app, &format!("{}/export/mexp.nothing", app.url)).await?;
    assert_eq!(unknown.0, 404);
    assert!(unknown.1.contains("There is no file here"), "{}", unknown.1);
    let link = made(&app, &ann, json!({})).await?;
    let token = link.rsplit('/').next().context("a token")?;
    let session = format!("{}/export/{}", app.url, ann.token);
    let cut = link[..link.len() - 1].to_owned();
    let other = app.config.http.public_url.clone() + "/export/" + &token.replacen("mexp.A", "mexp.B", 1);
    for wrong in [session, cut, other, format!("{link}A"), format!("{}/export/%00", app.url)] {
        if wrong != link {
            assert_eq!(get(&app, &wrong).await?, unknown, "{wrong}");
        }
    }

    // Who it was made for may not read it any more, or for a while.
    let member = json!({ "memberId": ann.member_id });
    assert_eq!(get(&app, &link).await?.0, 200);
    done(&app, &owner, "memberSuspend", member.clone()).await?;
    assert_eq!(get(&app, &link).await?, unknown);
    done(&app, &owner, "memberActivate", member).await?;
    assert_eq!(get(&app, &link).await?.0, 200);
    let standard = json!({ "memberId": ann.member_id, "roleIds": [SystemRole::Standard.id()] });
    done(&app, &owner, "memberAssignRoles", standard).await?;
    assert_eq!(get(&app, &link).await?, unknown);
    app.finish().await
}

#[tokio::test]
async fn one_key_makes_one_file_and_nobody_else_finds_it() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found(OWNER, 5).await?;
    let ada = app.join(&owner, "ada@harborandfinch.example", &[SystemRole::Administrator]).await?;
    // An account that was cancelled can be taken along.
    sqlx::query("UPDATE account_feed SET writable = false").execute(&app.db.pool).await?;
    let input = json!({ "idempotencyKey": "k" });
    let id = ask(&app, &owner, input.clone()).await?;
    assert_eq!(ask(&app, &owner, input).await?, id);
    app.settle().await?;
    assert_eq!(app.look("SELECT count(*) FROM export").await?.as_deref(), Some("1"));
    assert_eq!(look(&app, &owner, &id).await?["status"], "FINISHED");
    assert!(look(&app, &ada, &id).await?.is_null());
    app.finish().await
}
