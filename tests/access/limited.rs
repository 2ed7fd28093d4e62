//! Who holds a role within a unit only, and what is done to the owner: each mutation that has a member, an invitation, a unit or a resource
//! for its target, on one inside the unit, on one outside, and on the owner.

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::firm::Firm;
use super::{ALLOWED, NOTHING, Outcome, mutations, none};
use crate::support::app::Person;

const REFUSED: Outcome = "NOT_PERMITTED";
const NOT_HERE: Outcome = "NOT_FOUND";

/// What a member manager of one unit is answered of the victim, who belongs to it, and of the colleague, who does not.
const OF_MEMBERS: &[(&str, Outcome, Outcome)] = &[
    ("memberSuspend", ALLOWED, NOT_HERE),
    ("memberActivate", ALLOWED, NOT_HERE),
    ("memberDeactivate", ALLOWED, NOT_HERE),
    ("memberReactivate", ALLOWED, NOT_HERE),
    ("memberUpdate", ALLOWED, NOT_HERE),
    ("memberAssignRoles", ALLOWED, NOT_HERE),
    ("loginEmailChangeRequest", ALLOWED, NOT_HERE),
];

/// What needs a right for the whole account.
const OF_THE_ACCOUNT: &[&str] = &[
    "accountPolicyUpdate",
    "accountRename",
    "accountSsoPolicyUpdate",
    "groupArchive",
    "groupCreate",
    "groupUpdate",
    "memberImportCancel",
    "memberImportCreate",
    "roleArchive",
    "roleCreate",
    "roleUpdate",
    "unitAddMembers",
    "unitArchive",
    "unitCreate",
    "unitUpdate",
    "uploadCreate",
];

/// What the owner is answered of themselves, an administrator of the owner.
const OF_THE_OWNER: &[(&str, Outcome, Outcome)] = &[
    ("memberSuspend", "OWN_STATUS", "OWNER_PROTECTED"),
    ("memberDeactivate", "OWN_STATUS", "OWNER_PROTECTED"),
    ("memberDelete", "OWN_STATUS", "OWNER_PROTECTED"),
    ("memberUpdate", ALLOWED, "OWNER_PROTECTED"),
    ("memberAssignRoles", "OWNER_PROTECTED", "OWNER_PROTECTED"),
];

/// A member manager of a unit to which the victim belongs.
async fn manager(firm: &Firm) -> Result<Person> {
    let made =
        firm.app.mutate(Some(&firm.owner.token), "unitCreate", json!({ "name": "North" }), "unit { id }").await?;
    let unit = made.text("/unitCreate/unit/id");
    firm.after("unitAddMembers", json!({ "unitId": unit, "memberIds": [firm.victim] })).await?;
    let max = firm.app.join(&firm.owner, "max@harborandfinch.example", &[SystemRole::Standard]).await?;
    let limited = json!([{ "roleId": SystemRole::MemberManager.id(), "unitId": unit }]);
    firm.after("memberAssignRoles", json!({ "memberId": max.member_id, "unitRoles": limited })).await?;
    // Within the unit the victim has a role to give and to take.
    let own = json!([{ "roleId": SystemRole::Standard.id(), "unitId": unit }]);
    firm.after("memberAssignRoles", json!({ "memberId": firm.victim, "mode": "ADD", "unitRoles": own })).await?;
    Ok(max)
}

/// The version of a member's profile.
async fn version(firm: &Firm, member: &str) -> Result<Value> {
    let node = "query ($id: ID!) { node(id: $id) { ... on Member { version } } }";
    let read = firm.app.graphql(Some(&firm.owner.token), node, json!({ "id": member })).await?;
    Ok(read.data("/node/version").clone())
}

/// The input for a member, ready to succeed for whoever may.
async fn input(firm: &Firm, mutation: &str, member: &str, unit_role: &Value) -> Result<Value> {
    let before: &[&str] = match mutation {
        "memberSuspend" | "memberDeactivate" | "memberUpdate" | "loginEmailChangeRequest" => {
            &["memberReactivate", "memberActivate"]
        }
        "memberActivate" => &["memberReactivate", "memberSuspend"],
        "memberReactivate" => &["memberActivate", "memberDeactivate"],
        _ => &[],
    };
    for mutation in before {
        firm.set_status(mutation, member).await?;
    }
    Ok(match mutation {
        "memberUpdate" => {
            json!({ "memberId": member, "expectedVersion": version(firm, member).await?, "jobTitle": "Clerk" })
        }
        "memberAssignRoles" => json!({ "memberId": member, "mode": "ADD", "unitRoles": unit_role }),
        "loginEmailChangeRequest" => {
            json!({ "memberId": member, "newEmail": format!("{}@harborandfinch.example", uuid::Uuid::new_v4().simple()) })
        }
        _ => json!({ "memberId": member }),
    })
}

#[tokio::test]
async fn who_holds_a_role_within_a_unit_reaches_what_is_in_it_and_nothing_else() -> Result<()> {
    let firm = Firm::found().await?;
    let max = manager(&firm).await?;
    let own = firm.app.graphql(Some(&max.token), "{ viewer { unitPermissions { unitId } } }", Value::Null).await?;
    let unit = own.text("/viewer/unitPermissions/0/unitId");
    let unit_role = json!([{ "roleId": SystemRole::MemberManager.id(), "unitId": unit }]);
    let mut faults = Vec::new();
    for (mutation, inside, outside) in OF_MEMBERS {
        for (member, expected) in [(&firm.victim, inside), (&firm.colleague.member_id, outside)] {
            let input = input(&firm, mutation, member, &unit_role).await?;
            let answer = firm.app.mutate(Some(&max.token), mutation, input, "__typename").await?;
            super::compare(&mut faults, mutation, member, expected, &mutations::judge(&answer), &answer.body);
        }
    }
    for mutation in OF_THE_ACCOUNT {
        let (_, input) = mutations::prepare(&firm, mutation, 7).await?;
        let answer = firm.app.mutate(Some(&max.token), mutation, input, "__typename").await?;
        super::compare(&mut faults, mutation, "a unit's manager", REFUSED, &mutations::judge(&answer), &answer.body);
    }
    for invitation in ["invitationSend", "invitationResend", "invitationRevoke", "invitationUpdate"] {
        let (_, input) = mutations::prepare(&firm, invitation, 7).await?;
        let answer = firm.app.mutate(Some(&max.token), invitation, input, "__typename").await?;
        super::compare(&mut faults, invitation, "a unit's manager", NOT_HERE, &mutations::judge(&answer), &answer.body);
    }
    let node = "query ($id: ID!) { node(id: $id) { id } }";
    for (id, expected) in [(&firm.victim, ALLOWED), (&firm.colleague.member_id, NOTHING), (&firm.unit, NOTHING)] {
        let answer = firm.app.graphql(Some(&max.token), node, json!({ "id": id })).await?;
        let got = super::reads::judge(&answer, "/node");
        super::compare(&mut faults, "node", "a unit's manager", expected, &got, &answer.body);
    }
    let counted = firm.app.graphql(Some(&max.token), "{ account { membersCount unitsCount } }", Value::Null).await?;
    assert_eq!(counted.data("/account"), &json!({ "membersCount": 2, "unitsCount": 1 }), "themselves and the victim");
    none(&faults);
    firm.app.finish().await
}

#[tokio::test]
async fn the_owner_is_changed_by_nobody_else_and_stays_the_owner() -> Result<()> {
    let firm = Firm::found().await?;
    let mut faults = Vec::new();
    for (mutation, by_themselves, by_another) in OF_THE_OWNER {
        for (by, expected) in [(&firm.owner, by_themselves), (&firm.administrator, by_another)] {
            let input = match *mutation {
                "memberUpdate" => {
                    let version = version(&firm, &firm.owner.member_id).await?;
                    json!({ "memberId": firm.owner.member_id, "expectedVersion": version, "jobTitle": "Partner" })
                }
                "memberAssignRoles" => {
                    json!({ "memberId": firm.owner.member_id, "roleIds": [SystemRole::Standard.id()] })
                }
                _ => json!({ "memberId": firm.owner.member_id }),
            };
            let answer = firm.app.mutate(Some(&by.token), mutation, input, "__typename").await?;
            super::compare(&mut faults, mutation, &by.email, expected, &mutations::judge(&answer), &answer.body);
        }
    }
    let leaving = firm.app.mutate(Some(&firm.owner.token), "memberLeave", json!({}), "__typename").await?;
    super::compare(
        &mut faults,
        "memberLeave",
        "the owner",
        "OWNER_PROTECTED",
        &mutations::judge(&leaving),
        &leaving.body,
    );
    none(&faults);
    firm.app.finish().await
}
