//! How many SQL statements a request takes.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::app::{App, Person};
use crate::support::statements::Statements;

const PAGE: &str = "{ account { members(first: 50) { nodes {
    email firstName lastName accountRole roles { name } licenses { product { name } reserved }
} pageInfo { hasNextPage endCursor } } } }";

/// Whose session it is, and what they may do: one statement, or two when their rights are not in the cache.
fn authenticates(statement: &str) -> bool {
    statement.contains("FROM session s")
        || statement.contains("account_feed f USING (account_id) LEFT JOIN account_owner")
}

fn report(what: &str, statements: &[String]) {
    eprintln!("{what}: {} statements", statements.len());
    for statement in statements {
        eprintln!("    {}", statement.chars().take(110).collect::<String>());
    }
}

/// Invites many people without a mail.
async fn invite(app: &App, by: &Person, numbers: std::ops::Range<usize>) -> Result<()> {
    let role = SystemRole::Standard.id().to_string();
    let item = |number| json!({ "email": format!("person{number}@harborandfinch.example"), "roleIds": [role] });
    let input = json!({ "invitations": numbers.map(item).collect::<Vec<_>>(), "send": false });
    let answer = app.mutate(Some(&by.token), "memberInvite", input, "__typename").await?;
    assert_eq!(answer.codes(), Vec::<String>::new(), "{}", answer.body);
    Ok(())
}

/// The statements of a page of that many members.
async fn page(app: &App, by: &Person, statements: &Statements, members: usize) -> Result<Vec<String>> {
    statements.take();
    let answer = app.graphql(Some(&by.token), PAGE, Value::Null).await?;
    let taken = statements.take();
    let nodes = answer.data("/account/members/nodes").as_array().cloned().unwrap_or_default();
    assert_eq!(nodes.len(), members);
    assert!(
        nodes.iter().all(|node| node["roles"][0].is_object() && node["licenses"][0].is_object()),
        "{}",
        answer.body
    );
    Ok(taken)
}

#[tokio::test]
async fn a_page_of_members_takes_three_statements_at_most_however_many_there_are() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 100).await?;
    invite(&app, &owner, 0..4).await?;
    let statements = Statements::listen();
    let few = page(&app, &owner, &statements, 5).await?;
    invite(&app, &owner, 4..60).await?;
    let many = page(&app, &owner, &statements, 50).await?;
    report("members(first: 50) with roles and licences", &many);
    assert_eq!(few.len(), many.len(), "the number grows with the page");
    assert!(many.iter().any(|statement| authenticates(statement)), "nothing was heard");
    // Among them the one that reads `account`, the field around the page.
    let of_page = many.iter().filter(|statement| !authenticates(statement)).count();
    assert!(of_page <= 3, "{of_page} statements: {many:#?}");
    app.finish().await
}

#[tokio::test]
async fn the_statements_of_the_main_job_do_not_grow_unnoticed() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 100).await?;
    invite(&app, &owner, 0..20).await?;
    app.settle().await?;
    let statements = Statements::listen();

    let viewer =
        "{ viewer { user { email } member { firstName roles { name } } account { name } session { id } permissions } }";
    app.graphql(Some(&owner.token), viewer, Value::Null).await?.data("/viewer/member/firstName");
    let of_viewer = statements.take();
    report("viewer { user member account session permissions }", &of_viewer);

    let invited = app.invite(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    assert_eq!(invited.codes(), Vec::<String>::new());
    let of_invite = statements.take();
    report("memberInvite of one, with its member", &of_invite);

    let token = app.letter("ben@harborandfinch.example").await?.token();
    statements.take();
    let accepted = app.accept(&token, "Ben", "Brandt").await?;
    assert_eq!(accepted.codes(), Vec::<String>::new());
    let of_accept = statements.take();
    report("invitationAccept of somebody new", &of_accept);

    // No goals, but bounds: whoever needs more raises them knowingly.
    let numbers = [of_viewer.len(), of_invite.len(), of_accept.len()];
    assert!(numbers.iter().zip([8, 20, 18]).all(|(number, most)| *number <= most), "{numbers:?}");
    app.finish().await
}

/// The statements of inviting so many with a mail, of sending as many that had none, and of sending all of them again.
async fn mailing(app: &App, by: &Person, statements: &Statements, people: usize) -> Result<[usize; 3]> {
    let role = SystemRole::Standard.id().to_string();
    let invitations = |kind: &str| {
        let item =
            |number| json!({ "email": format!("{kind}{people}-{number}@harborandfinch.example"), "roleIds": [role] });
        (0..people).map(item).collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    let mut taken = Vec::new();
    for (kind, send) in [("sent", true), ("unsent", false)] {
        let input = json!({ "invitations": invitations(kind), "send": send });
        let invited = app.mutate(Some(&by.token), "memberInvite", input, "invitations { id }").await?;
        assert_eq!(invited.codes(), Vec::<String>::new(), "{}", invited.body);
        taken.push(statements.take());
        let ids = invited.data("/memberInvite/invitations").as_array().cloned().unwrap_or_default();
        all.extend(ids.into_iter().map(|invitation| invitation["id"].clone()));
    }
    taken.pop();
    for (mutation, ids) in [("invitationSend", &all[people..]), ("invitationResend", &all)] {
        app.settle().await?;
        app.pass(SignedDuration::from_secs(61));
        statements.take();
        let handled = app.mutate(Some(&by.token), mutation, json!({ "invitationIds": ids }), "__typename").await?;
        assert_eq!(handled.codes(), Vec::<String>::new(), "{}", handled.body);
        taken.push(statements.take());
    }
    for (what, statements) in ["memberInvite", "invitationSend", "invitationResend"].iter().zip(&taken) {
        report(&format!("{what} for {people} people"), statements);
    }
    Ok([taken[0].len(), taken[1].len(), taken[2].len()])
}

#[tokio::test]
async fn many_invitations_take_as_many_statements_as_few() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 200).await?;
    let statements = Statements::listen();
    let few = mailing(&app, &owner, &statements, 5).await?;
    let many = mailing(&app, &owner, &statements, 50).await?;
    assert!(few.iter().zip(many).all(|(few, many)| *few > 5 && many <= few + 2), "{few:?}, then {many:?}");
    app.finish().await
}

#[tokio::test]
async fn five_hundred_are_invited_with_a_mail_and_sent_another() -> Result<()> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 501).await?;
    let role = SystemRole::Standard.id().to_string();
    let item = |number| json!({ "email": format!("person{number}@harborandfinch.example"), "roleIds": [role] });
    let input = json!({ "invitations": (0..500).map(item).collect::<Vec<_>>() });
    let begun = std::time::Instant::now();
    let invited = app.mutate(Some(&owner.token), "memberInvite", input, "invitations { id }").await?;
    assert_eq!(invited.codes(), Vec::<String>::new(), "{}", invited.body);
    eprintln!("500 people invited within {:.1?}", begun.elapsed());
    app.settle().await?;
    app.pass(SignedDuration::from_secs(61));
    let ids = invited.data("/memberInvite/invitations").as_array().cloned().unwrap_or_default();
    let ids: Vec<Value> = ids.into_iter().map(|invitation| invitation["id"].clone()).collect();
    let begun = std::time::Instant::now();
    let resent =
        app.mutate(Some(&owner.token), "invitationResend", json!({ "invitationIds": ids }), "__typename").await?;
    assert_eq!(resent.codes(), Vec::<String>::new(), "{}", resent.body);
    eprintln!("500 people sent another mail within {:.1?}", begun.elapsed());
    app.settle().await?;
    let mails = app.mailbox.all()?;
    let people: std::collections::BTreeSet<&str> = mails.iter().map(|letter| letter.to.as_str()).collect();
    assert_eq!((mails.len(), people.len()), (1_001, 501));
    app.finish().await
}
