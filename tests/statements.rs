//! How many SQL statements a request takes.

use anyhow::Result;
use domain::permission::SystemRole;
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
