//! Mutations: who may, and targets on which the allowed ones succeed.

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::firm::{Firm, fresh_name, upload};
use super::{ALLOWED, Expected, Outcome};
use crate::support::app::{Answer, PASSWORD};

const SIGN_IN: Outcome = "error UNAUTHENTICATED";
const REFUSED: Outcome = "NOT_PERMITTED";
const NOT_HERE: Outcome = "NOT_FOUND";
const OWNER: Outcome = "OWNER_PROTECTED";

const ANYBODY: Expected = [ALLOWED; 8];
const SIGNED_IN: Expected = [SIGN_IN, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED];
/// Administrators, each in their account.
const ADMINISTRATORS: Expected = [SIGN_IN, ALLOWED, ALLOWED, REFUSED, REFUSED, REFUSED, REFUSED, ALLOWED];
/// Administrators, of something in the account.
const ADMINISTRATORS_INSIDE: Expected = [SIGN_IN, NOT_HERE, ALLOWED, REFUSED, REFUSED, REFUSED, REFUSED, ALLOWED];
/// Who manages members, each in their account.
const MANAGERS: Expected = [SIGN_IN, ALLOWED, ALLOWED, ALLOWED, REFUSED, REFUSED, REFUSED, ALLOWED];
/// Who manages members, of something in the account.
const MANAGERS_INSIDE: Expected = [SIGN_IN, NOT_HERE, ALLOWED, ALLOWED, REFUSED, REFUSED, REFUSED, ALLOWED];

/// Who reads statements, of one of the account.
const BILLING: Expected = [SIGN_IN, NOT_HERE, ALLOWED, REFUSED, ALLOWED, ALLOWED, REFUSED, ALLOWED];
/// Who reads members, each in their account.
const READERS: Expected = [SIGN_IN, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, REFUSED, ALLOWED];
/// Who buys licences, each in their account.
const BUYERS: Expected = [SIGN_IN, ALLOWED, ALLOWED, REFUSED, ALLOWED, REFUSED, REFUSED, ALLOWED];
/// Who buys licences, of something in the account.
const BUYERS_INSIDE: Expected = [SIGN_IN, NOT_HERE, ALLOWED, REFUSED, ALLOWED, REFUSED, REFUSED, ALLOWED];
/// Who gives licences to members, of a product that the account has.
const ALLOCATORS: Expected = [SIGN_IN, NOT_HERE, ALLOWED, ALLOWED, ALLOWED, REFUSED, REFUSED, ALLOWED];
/// The owner's alone, each in their account.
const OWNERS: Expected = [SIGN_IN, ALLOWED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, ALLOWED];
/// Each mutation, and what each caller is answered.
pub(crate) const ROWS: &[(&str, Expected)] = &[
    ("accountCancel", OWNERS),
    ("accountResume", OWNERS),
    ("billingPlanChange", BUYERS_INSIDE),
    ("billingProfileUpdate", BUYERS),
    ("licenseAllocate", ALLOCATORS),
    ("licenseChangeCancel", BUYERS_INSIDE),
    ("licenseDeallocate", ALLOCATORS),
    ("licenseQuoteCreate", BUYERS_INSIDE),
    ("licensesAdd", BUYERS_INSIDE),
    ("licensesRemove", BUYERS_INSIDE),
    ("productDisable", BUYERS_INSIDE),
    ("productEnable", BUYERS_INSIDE),
    ("trialStart", BUYERS),
    ("trialOptIn", BUYERS),
    ("trialOptOut", BUYERS),
    ("accountCreate", SIGNED_IN),
    ("accountPolicyUpdate", ADMINISTRATORS),
    ("accountRename", ADMINISTRATORS),
    ("accountSsoPolicyUpdate", ADMINISTRATORS),
    ("groupAddMembers", MANAGERS_INSIDE),
    ("groupArchive", MANAGERS_INSIDE),
    ("groupCreate", MANAGERS),
    ("groupRemoveMembers", MANAGERS_INSIDE),
    ("groupUnarchive", MANAGERS_INSIDE),
    ("groupUpdate", MANAGERS_INSIDE),
    // The link is the right; it takes nobody else's session.
    (
        "invitationAccept",
        [
            ALLOWED,
            "OTHER_PERSON",
            "OTHER_PERSON",
            "OTHER_PERSON",
            "OTHER_PERSON",
            "OTHER_PERSON",
            "OTHER_PERSON",
            "OTHER_PERSON",
        ],
    ),
    ("invitationDecline", ANYBODY),
    ("invitationResend", MANAGERS_INSIDE),
    ("invitationRevoke", MANAGERS_INSIDE),
    ("invitationSend", MANAGERS_INSIDE),
    ("invitationUpdate", MANAGERS_INSIDE),
    // The link is the right.
    ("loginEmailChangeApprove", ANYBODY),
    ("loginEmailChangeCancel", MANAGERS_INSIDE),
    ("loginEmailChangeConfirm", ANYBODY),
    ("loginEmailChangeRequest", MANAGERS_INSIDE),
    ("loginEmailChangeRevert", ANYBODY),
    ("memberActivate", MANAGERS_INSIDE),
    ("memberAssignRoles", MANAGERS_INSIDE),
    ("memberDeactivate", MANAGERS_INSIDE),
    ("memberDelete", MANAGERS_INSIDE),
    ("memberExportCreate", READERS),
    ("memberImportCancel", MANAGERS_INSIDE),
    ("statementExportCreate", BILLING),
    ("memberImportCreate", MANAGERS_INSIDE),
    ("memberInvite", MANAGERS),
    // Somebody of the same roles leaves in their place.
    ("memberLeave", [SIGN_IN, OWNER, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, OWNER]),
    ("memberReactivate", MANAGERS_INSIDE),
    ("memberSuspend", MANAGERS_INSIDE),
    ("memberUpdate", MANAGERS_INSIDE),
    ("passwordChange", SIGNED_IN),
    ("passwordReset", ANYBODY),
    ("passwordResetRequest", ANYBODY),
    ("roleArchive", ADMINISTRATORS_INSIDE),
    ("roleCreate", ADMINISTRATORS),
    ("roleUnarchive", ADMINISTRATORS_INSIDE),
    ("roleUpdate", ADMINISTRATORS_INSIDE),
    ("resourceArchive", MANAGERS_INSIDE),
    ("resourceAssign", MANAGERS_INSIDE),
    ("resourceGrant", MANAGERS_INSIDE),
    ("resourceRateRemove", MANAGERS_INSIDE),
    ("resourceRateSet", MANAGERS_INSIDE),
    ("resourceRegister", MANAGERS),
    ("resourceRevoke", MANAGERS_INSIDE),
    ("resourceUnarchive", MANAGERS_INSIDE),
    ("sessionCreate", ANYBODY),
    ("sessionRevoke", SIGNED_IN),
    ("sessionSwitchAccount", SIGNED_IN),
    ("signUp", ANYBODY),
    ("signUpConfirm", ANYBODY),
    ("unitAddMembers", MANAGERS_INSIDE),
    ("unitArchive", MANAGERS_INSIDE),
    ("unitCreate", MANAGERS),
    ("unitRemoveMembers", MANAGERS_INSIDE),
    ("unitUnarchive", MANAGERS_INSIDE),
    ("unitUpdate", MANAGERS_INSIDE),
    ("uploadCreate", MANAGERS),
];

/// The token a caller uses, and an input with which a mutation succeeds for whoever may run it.
pub(crate) async fn prepare(firm: &Firm, mutation: &str, caller: usize) -> Result<(Option<String>, Value)> {
    let own = firm.caller(caller).map(|person| person.token.clone());
    let input = if let Some(input) = of_members(firm, mutation).await? {
        input
    } else if let Some(input) = of_invitations(firm, mutation).await? {
        input
    } else if let Some(input) = of_roles_and_units(firm, mutation).await? {
        input
    } else if let Some(input) = of_login_emails(firm, mutation).await? {
        input
    } else if let Some(input) = of_people(firm, mutation).await? {
        input
    } else if let Some(input) = of_things(firm, mutation).await? {
        input
    } else if let Some(input) = super::money::prepare(firm, mutation, caller).await? {
        input
    } else {
        return of_callers(firm, mutation, caller).await;
    };
    Ok((own, input))
}

async fn of_members(firm: &Firm, mutation: &str) -> Result<Option<Value>> {
    let victim = json!({ "memberId": firm.victim });
    let before: &[&str] = match mutation {
        "memberSuspend" | "memberDeactivate" => &["memberReactivate", "memberActivate"],
        "memberActivate" => &["memberReactivate", "memberSuspend"],
        "memberReactivate" => &["memberActivate", "memberDeactivate"],
        "memberAssignRoles" => {
            let roles = |roles: &[SystemRole]| -> Value {
                let ids: Vec<String> = roles.iter().map(|role| role.id().to_string()).collect();
                json!({ "memberId": firm.victim, "roleIds": ids })
            };
            let standard = roles(&[SystemRole::Standard]);
            firm.app.mutate(Some(&firm.owner.token), mutation, standard, "__typename").await?;
            return Ok(Some(roles(&[SystemRole::Standard, SystemRole::MemberManager])));
        }
        "memberUpdate" => {
            return Ok(Some(json!({ "memberId": invited(firm).await?, "expectedVersion": 1, "jobTitle": "Clerk" })));
        }
        "memberDelete" => return Ok(Some(json!({ "memberId": invited(firm).await? }))),
        "memberExportCreate" => return Ok(Some(json!({}))),
        "statementExportCreate" => {
            return Ok(Some(json!({ "statementId": firm.bought.statement, "format": "CSV" })));
        }
        _ => return Ok(None),
    };
    for mutation in before {
        firm.set_status(mutation, &firm.victim).await?;
    }
    Ok(Some(victim))
}

/// Somebody new who is invited: their id.
async fn invited(firm: &Firm) -> Result<String> {
    let answer = firm.app.invite(&firm.owner, &fresh_address(), &[SystemRole::Standard]).await?;
    Ok(answer.text("/memberInvite/invitations/0/member/id"))
}

async fn of_invitations(firm: &Firm, mutation: &str) -> Result<Option<Value>> {
    Ok(Some(match mutation {
        "invitationSend" => json!({ "invitationIds": [firm.fresh(false).await?.0] }),
        "invitationResend" => json!({ "invitationIds": [firm.fresh(true).await?.0] }),
        "invitationRevoke" => json!({ "invitationId": firm.fresh(true).await?.0 }),
        "invitationUpdate" => {
            let roles = [SystemRole::Standard.id().to_string()];
            json!({ "invitationId": firm.fresh(true).await?.0, "firstName": "Ann", "roleIds": roles })
        }
        "invitationAccept" | "invitationDecline" => {
            let (_, email) = firm.fresh(true).await?;
            let token = firm.app.letter(&email).await?.token();
            match mutation {
                "invitationDecline" => json!({ "token": token }),
                _ => json!({ "token": token, "firstName": "Ann", "lastName": "Lee", "password": PASSWORD }),
            }
        }
        "memberInvite" => {
            let role = SystemRole::Standard.id().to_string();
            json!({ "invitations": [{ "email": fresh_address(), "roleIds": [role] }], "send": false })
        }
        "memberImportCancel" => json!({ "memberImportId": firm.unfinished_import().await? }),
        "memberImportCreate" => json!({ "uploadId": upload(&firm.app, &firm.owner, &fresh_address()).await? }),
        "uploadCreate" => json!({ "fileName": "people.csv" }),
        _ => return Ok(None),
    }))
}

async fn of_roles_and_units(firm: &Firm, mutation: &str) -> Result<Option<Value>> {
    let (unit, role) = (json!({ "unitId": firm.unit }), json!({ "roleId": firm.role }));
    let members = json!({ "unitId": firm.unit, "memberIds": [firm.victim] });
    Ok(Some(match mutation {
        "unitCreate" | "roleCreate" => json!({ "name": fresh_name() }),
        "unitUpdate" => json!({ "unitId": firm.unit, "name": fresh_name() }),
        "roleUpdate" => json!({ "roleId": firm.role, "name": fresh_name() }),
        "unitAddMembers" | "unitRemoveMembers" => members,
        // What the one before did is undone, so that there is something to do.
        "unitArchive" | "unitUnarchive" => firm.after("unitUnarchive", unit).await?,
        "roleArchive" | "roleUnarchive" => firm.after("roleUnarchive", role).await?,
        _ => return Ok(None),
    }))
}

async fn of_login_emails(firm: &Firm, mutation: &str) -> Result<Option<Value>> {
    if !mutation.starts_with("loginEmailChange") {
        return Ok(None);
    }
    for mutation in ["memberReactivate", "memberActivate"] {
        firm.set_status(mutation, &firm.victim).await?;
    }
    let new = fresh_address();
    let request = json!({ "memberId": firm.victim, "newEmail": new });
    if mutation == "loginEmailChangeRequest" {
        return Ok(Some(request));
    }
    let node = json!({ "id": firm.victim });
    let email = "query ($id: ID!) { node(id: $id) { ... on Member { email } } }";
    let old = firm.app.graphql(Some(&firm.owner.token), email, node).await?.text("/node/email");
    let asked = firm.app.mutate(Some(&firm.owner.token), "loginEmailChangeRequest", request, "__typename").await?;
    anyhow::ensure!(asked.codes().is_empty(), "{}", asked.body);
    Ok(Some(match mutation {
        "loginEmailChangeCancel" => json!({ "memberId": firm.victim }),
        "loginEmailChangeConfirm" => json!({ "token": firm.app.letter(&new).await?.token() }),
        "loginEmailChangeRevert" => json!({ "token": firm.app.letter(&old).await?.token() }),
        // Nobody is mailed this link of a person with one account; the right is in the link all the same.
        _ => json!({ "token": approval(firm, &new).await? }),
    }))
}

async fn approval(firm: &Firm, new: &str) -> Result<String> {
    let id: domain::id::EmailChangeId =
        sqlx::query_scalar("SELECT email_change_id FROM email_change WHERE new_email = $1")
            .bind(new)
            .fetch_one(&firm.app.db.pool)
            .await?;
    Ok(firm.app.db.key.derive(domain::infra::secret::Purpose::LoginEmailApprove, None, id.0, 1).expose())
}

async fn of_people(firm: &Firm, mutation: &str) -> Result<Option<Value>> {
    let colleague = &firm.colleague.email;
    Ok(Some(match mutation {
        "accountCreate" => json!({ "name": "Second" }),
        "accountPolicyUpdate" => json!({ "refusePersonalDomains": true }),
        "accountRename" => json!({ "name": "Harbor & Finch LLP" }),
        "accountSsoPolicyUpdate" => json!({ "required": false, "exceptions": [] }),
        "sessionCreate" => json!({ "email": colleague, "password": PASSWORD, "accountId": firm.colleague.account_id }),
        "passwordChange" => json!({ "currentPassword": PASSWORD, "newPassword": PASSWORD }),
        "passwordResetRequest" => json!({ "email": colleague }),
        "passwordReset" => {
            // The notice of the reset before would else arrive as the newest mail.
            firm.app.settle().await?;
            firm.app.mutate(None, "passwordResetRequest", json!({ "email": colleague }), "accepted").await?;
            json!({ "token": firm.app.letter(colleague).await?.token(), "password": PASSWORD })
        }
        "signUp" => sign_up(&fresh_address()),
        "signUpConfirm" => {
            let email = fresh_address();
            firm.app.mutate(None, "signUp", sign_up(&email), "accepted").await?;
            json!({ "token": firm.app.letter(&email).await?.token() })
        }
        _ => return Ok(None),
    }))
}

/// Groups and resources; each is left as it was found.
async fn of_things(firm: &Firm, mutation: &str) -> Result<Option<Value>> {
    let back = match mutation {
        "groupArchive" => Some(("groupUnarchive", json!({ "groupId": firm.group }))),
        "groupUnarchive" => Some(("groupArchive", json!({ "groupId": firm.group }))),
        "resourceArchive" => Some(("resourceUnarchive", json!({ "resourceId": firm.resource }))),
        "resourceUnarchive" => Some(("resourceArchive", json!({ "resourceId": firm.resource }))),
        _ => None,
    };
    if let Some((before, input)) = back {
        firm.app.mutate(Some(&firm.owner.token), before, input.clone(), "__typename").await?;
        return Ok(Some(input));
    }
    for (unarchive, input) in [
        ("groupUnarchive", json!({ "groupId": firm.group })),
        ("resourceUnarchive", json!({ "resourceId": firm.resource })),
    ] {
        firm.app.mutate(Some(&firm.owner.token), unarchive, input, "__typename").await?;
    }
    let fresh = uuid::Uuid::new_v4().simple().to_string();
    Ok(Some(match mutation {
        "groupCreate" => json!({ "name": fresh }),
        "groupUpdate" => json!({ "groupId": firm.group, "name": fresh }),
        "groupAddMembers" | "groupRemoveMembers" => {
            json!({ "groupId": firm.group, "memberIds": [firm.colleague.member_id] })
        }
        "resourceRegister" => {
            json!({ "resources": [{ "type": "matter", "externalId": fresh, "name": "Estate of Doe" }] })
        }
        "resourceAssign" => json!({ "resourceId": firm.resource, "memberId": firm.colleague.member_id }),
        "resourceGrant" | "resourceRevoke" => {
            json!({ "resourceId": firm.resource, "groupIds": [firm.group], "memberIds": [firm.colleague.member_id] })
        }
        "resourceRateSet" => {
            json!({ "resourceId": firm.resource, "groupId": firm.group, "rate": { "amount": "2", "currency": "USD" } })
        }
        "resourceRateRemove" => json!({ "resourceId": firm.resource, "groupId": firm.group }),
        _ => return Ok(None),
    }))
}

/// Mutations of the caller's own sessions run in a session of their own.
async fn of_callers(firm: &Firm, mutation: &str, caller: usize) -> Result<(Option<String>, Value)> {
    if mutation == "memberLeave" {
        return Ok((leaver(firm, caller).await?, json!({})));
    }
    let person = firm.caller(caller);
    let (token, id) = firm.session(person.unwrap_or(&firm.owner)).await?;
    match mutation {
        "sessionRevoke" => Ok((person.map(|person| person.token.clone()), json!({ "sessionId": id }))),
        "sessionSwitchAccount" => {
            let made = firm.app.mutate(Some(&token), "accountCreate", json!({ "name": "Third" }), "accountId").await?;
            let account = made.text("/accountCreate/accountId");
            Ok((person.map(|_| token), json!({ "accountId": account })))
        }
        other => panic!("{other}: say on what it succeeds"),
    }
}

/// The token of somebody who has the roles of a caller; owners themselves.
async fn leaver(firm: &Firm, caller: usize) -> Result<Option<String>> {
    use SystemRole::{Administrator, Auditor, BillingManager, MemberManager, Standard};
    let role = match caller {
        2 => Administrator,
        3 => MemberManager,
        4 => BillingManager,
        5 => Auditor,
        6 => Standard,
        _ => return Ok(firm.caller(caller).map(|person| person.token.clone())),
    };
    Ok(Some(firm.app.join(&firm.owner, &fresh_address(), &[role]).await?.token))
}

fn fresh_address() -> String {
    format!("{}@harborandfinch.example", uuid::Uuid::new_v4().simple())
}

fn sign_up(email: &str) -> Value {
    json!({ "accountName": "New", "firstName": "Ann", "lastName": "Lee", "email": email, "password": PASSWORD })
}

/// What the answer amounts to.
pub(crate) fn judge(answer: &Answer) -> String {
    if !answer.errors().is_empty() {
        return format!("error {}", answer.errors().join(" "));
    }
    let codes = answer.codes();
    if codes.is_empty() { ALLOWED.to_owned() } else { codes.join(" ") }
}
