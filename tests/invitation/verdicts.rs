//! What an invitation says can be done with it, against what is done.

use anyhow::Result;
use domain::permission::SystemRole;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{invite_all, item, item_with};
use crate::support::app::{Answer, App, Person};

const WISHES: [(&str, &str); 4] = [
    ("invitationSend", "viewerCanSend"),
    ("invitationResend", "viewerCanResend"),
    ("invitationUpdate", "viewerCanUpdate"),
    ("invitationRevoke", "viewerCanRevoke"),
];
const VIEWERS: [&str; 4] = ["olivia", "ada", "max", "tom"];

fn login(name: &str) -> String {
    format!("{name}@harborandfinch.example")
}

/// The address of who is invited to try one wish of one viewer at an invitation of a kind.
fn address(kind: &str, viewer: &str, mutation: &str) -> String {
    format!("{kind}.{viewer}.{}@work.example", mutation.to_lowercase())
}

/// One for each wish of each viewer.
fn addresses(kind: &str) -> Vec<String> {
    let of = |viewer| WISHES.iter().map(move |(mutation, _)| address(kind, viewer, mutation));
    VIEWERS.iter().flat_map(|viewer| of(*viewer)).collect()
}

fn values(answer: &Answer, path: &str) -> Vec<Value> {
    let invitations = answer.data("/memberInvite/invitations").as_array().unwrap();
    invitations.iter().map(|invitation| invitation.pointer(path).unwrap().clone()).collect()
}

/// One firm with invitations of every kind, each kind once for each wish of each viewer.
async fn firm() -> Result<App> {
    let app = App::start().await?;
    let owner = app.found(&login("olivia"), 200).await?;
    for (name, role) in
        [("ada", SystemRole::Administrator), ("max", SystemRole::MemberManager), ("tom", SystemRole::Auditor)]
    {
        app.join(&owner, &login(name), &[role]).await?;
    }
    let invite = async |by: &Person, kind: &str, role: SystemRole| -> Result<Answer> {
        let items = addresses(kind).iter().map(|email| item_with(email, &[role])).collect();
        let answer = invite_all(&app, by, items, "ALL_OR_NOTHING").await?;
        assert!(answer.codes().is_empty(), "{kind}: {}", answer.body);
        Ok(answer)
    };
    invite(&owner, "lapsed", SystemRole::Standard).await?;
    app.settle().await?;
    app.pass(SignedDuration::from_hours(25));
    assert_eq!(app.sweep("invitations.lapse").await?, 16);

    let owner = app.person(&login("olivia")).await?;
    let done = async |mutation: &str, input: Value| -> Result<()> {
        let answer = app.mutate(Some(&owner.token), mutation, input, "__typename").await?;
        assert!(answer.codes().is_empty(), "{mutation}: {}", answer.body);
        Ok(())
    };
    invite(&owner, "pending", SystemRole::Standard).await?;
    invite(&owner, "greater", SystemRole::Administrator).await?;
    let suspended = invite(&owner, "suspended", SystemRole::Standard).await?;
    done("memberSuspend", json!({ "memberIds": values(&suspended, "/member/id") })).await?;
    for id in values(&invite(&owner, "revoked", SystemRole::Standard).await?, "/id") {
        done("invitationRevoke", json!({ "invitationId": id })).await?;
    }
    let unsent: Vec<Value> = addresses("unsent").iter().map(|email| item(email)).collect();
    done("memberInvite", json!({ "invitations": unsent, "send": false })).await?;
    app.settle().await?;
    // A mail may follow another one after a minute.
    app.pass(SignedDuration::from_mins(2));
    Ok(app)
}

/// What is said of every invitation that the viewer sees.
async fn verdicts(app: &App, by: &Person, field: &str) -> Result<Vec<Value>> {
    let document = format!(
        "{{ account {{ invitations(first: 100) {{ nodes {{ id email {field} {{ allowed code missing }} }} }} }} }}"
    );
    let answer = app.graphql(Some(&by.token), &document, Value::Null).await?;
    Ok(answer.data("/account/invitations/nodes").as_array().unwrap().clone())
}

#[tokio::test]
async fn verdicts_say_what_the_mutations_do() -> Result<()> {
    let app = firm().await?;
    let (mut done, mut refused) = (0, 0);
    for viewer in VIEWERS {
        let by = app.person(&login(viewer)).await?;
        for (mutation, field) in WISHES {
            for node in verdicts(&app, &by, field).await? {
                let email = node["email"].as_str().unwrap();
                if !email.contains(&format!(".{viewer}.{}@", mutation.to_lowercase())) {
                    continue;
                }
                let input = match mutation {
                    "invitationSend" | "invitationResend" => json!({ "invitationIds": [node["id"]] }),
                    "invitationUpdate" => json!({ "invitationId": node["id"], "firstName": "Ann" }),
                    _ => json!({ "invitationId": node["id"] }),
                };
                let told = app.mutate(Some(&by.token), mutation, input, "__typename").await?;
                let verdict = &node[field];
                if verdict["allowed"] == true {
                    assert!(told.codes().is_empty(), "{mutation} of {email}: {}", told.body);
                    done += 1;
                    continue;
                }
                assert_eq!(told.user_errors()[0]["code"], verdict["code"], "{mutation} of {email}");
                if verdict["code"] == "NOT_PERMITTED" {
                    assert_eq!(told.user_errors()[0]["permissions"], verdict["missing"], "{mutation} of {email}");
                }
                refused += 1;
            }
        }
    }
    // Of six kinds one can be sent for the first time, three can be sent again, five corrected, five withdrawn: by the owner and the
    // administrator. The member manager neither resends nor corrects what makes an administrator; the auditor does nothing.
    assert_eq!((done, refused), (14 + 14 + 12, 96 - 40));
    app.finish().await
}
