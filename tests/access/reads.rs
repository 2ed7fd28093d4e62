//! Fields that are read.

use serde_json::{Value, json};

use super::firm::Firm;
use super::{ALLOWED, Expected, NOTHING, Outcome};
use crate::support::app::Answer;

const SIGN_IN: Outcome = "error UNAUTHENTICATED";
const FORBIDDEN: Outcome = "error FORBIDDEN";

/// A field, how it is asked for, where its value stands in the answer, and what each caller gets.
#[derive(Clone)]
pub(crate) struct Read {
    pub(crate) field: &'static str,
    pub(crate) document: std::borrow::Cow<'static, str>,
    pub(crate) pointer: &'static str,
    pub(crate) variables: fn(&Firm) -> Value,
    pub(crate) expected: Expected,
}

const fn read(
    field: &'static str,
    document: &'static str,
    pointer: &'static str,
    variables: fn(&Firm) -> Value,
    expected: Expected,
) -> Read {
    Read { field, document: std::borrow::Cow::Borrowed(document), pointer, variables, expected }
}

const fn plain(field: &'static str, document: &'static str, pointer: &'static str, expected: Expected) -> Read {
    read(field, document, pointer, |_| Value::Null, expected)
}

const NODE: &str = "query ($id: ID!) { node(id: $id) { id } }";
const NODES: &str = "query ($id: ID!) { nodes(ids: [$id]) { id } }";

/// Everybody who is signed in.
const SIGNED_IN: Expected = [SIGN_IN, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED];
/// Whoever is signed in sees their own; nobody has none.
const OWN: Expected = [NOTHING, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED];
/// All of the account.
const INSIDE: Expected = [SIGN_IN, NOTHING, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED];
/// `members.read`, on something of the stranger's own account.
const MEMBERS: Expected = [SIGN_IN, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED];
/// `members.read`, where the rest sees null.
const MEMBERS_INSIDE: Expected = [SIGN_IN, NOTHING, ALLOWED, ALLOWED, ALLOWED, ALLOWED, NOTHING, ALLOWED];
/// Something that was made for the owner.
const OF_OWNER: Expected = [SIGN_IN, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, ALLOWED];
/// The same, where the others are asked for `imports.read` as for anything that is not there.
const JOB_OF_OWNER: Expected = [SIGN_IN, NOTHING, NOTHING, NOTHING, FORBIDDEN, NOTHING, FORBIDDEN, ALLOWED];
/// `imports.read`.
const IMPORTS: Expected = [SIGN_IN, ALLOWED, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED, FORBIDDEN, ALLOWED];
const IMPORT: Expected = [SIGN_IN, NOTHING, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED, FORBIDDEN, ALLOWED];
/// Null for whoever may not read imports.
const IMPORT_NODE: Expected = [SIGN_IN, NOTHING, ALLOWED, ALLOWED, NOTHING, ALLOWED, NOTHING, ALLOWED];
/// `activity.read`, of one's own account.
const ACTIVITY: Expected = [SIGN_IN, ALLOWED, ALLOWED, FORBIDDEN, FORBIDDEN, ALLOWED, FORBIDDEN, ALLOWED];
/// `members.read` of the viewer; nobody has no viewer.
const VIEWERS_MEMBERS: Expected = [NOTHING, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, NOTHING, ALLOWED];
/// `account.update`.
const UPDATE: Expected = [SIGN_IN, ALLOWED, ALLOWED, NOTHING, NOTHING, NOTHING, NOTHING, ALLOWED];
/// `members.invite`, `imports.run`.
const MANAGE: Expected = [SIGN_IN, ALLOWED, ALLOWED, ALLOWED, NOTHING, NOTHING, NOTHING, ALLOWED];

/// `members.read`, of something of one account.
const GROUP: Expected = [SIGN_IN, NOTHING, ALLOWED, ALLOWED, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED];
/// `resources.read`, of one's own account.
const RESOURCES: Expected = [SIGN_IN, ALLOWED, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED, FORBIDDEN, ALLOWED];
/// `resources.read`, of something of one account.
const RATE: Expected = [SIGN_IN, NOTHING, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED, FORBIDDEN, ALLOWED];
/// The same, where the rest sees null.
const RESOURCE: Expected = [SIGN_IN, NOTHING, ALLOWED, ALLOWED, NOTHING, ALLOWED, NOTHING, ALLOWED];
/// `resources.manage`, where the rest sees false.
const RESOURCE_MANAGE: Expected = [SIGN_IN, NOTHING, ALLOWED, ALLOWED, NOTHING, NOTHING, NOTHING, ALLOWED];

/// Licences, of something of one account.
const LICENSES_INSIDE: Expected = [SIGN_IN, NOTHING, ALLOWED, ALLOWED, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED];
/// The same, where the rest sees null.
const LICENSES_NODE: Expected = [SIGN_IN, NOTHING, ALLOWED, ALLOWED, ALLOWED, ALLOWED, NOTHING, ALLOWED];
/// Billing, of one's own account.
const BILLING: Expected = [SIGN_IN, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED];
/// Billing, of something of one account.
const BILLING_INSIDE: Expected = [SIGN_IN, NOTHING, ALLOWED, FORBIDDEN, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED];
/// The same, where the rest sees null.
const BILLING_NODE: Expected = [SIGN_IN, NOTHING, ALLOWED, NOTHING, ALLOWED, ALLOWED, NOTHING, ALLOWED];

const RESOURCE_NODE: &str =
    "query ($id: ID!) { resource(id: $id) { groupIds memberIds rates { groupId } viewerCanManage viewerCanRead } }";

/// A field of the resource.
const fn of_resource(field: &'static str, pointer: &'static str, expected: Expected) -> Read {
    read(field, RESOURCE_NODE, pointer, |firm| json!({ "id": firm.resource }), expected)
}

/// Fields with a guard of their own, or that are reached from the root.
pub(crate) const ROWS: &[Read] = &[
    plain("Query.viewer", "{ viewer { permissions } }", "/viewer", OWN),
    plain("Query.products", "{ products { product { key } } }", "/products", SIGNED_IN),
    read(
        "Query.licenseQuote",
        "query ($id: ID!) { licenseQuote(id: $id) { named { member { email } } total { amount } } }",
        "/licenseQuote",
        |firm| json!({ "id": firm.bought.quote }),
        LICENSES_INSIDE,
    ),
    read(
        "Query.licenseChange",
        "query ($id: ID!) { licenseChange(id: $id) { requestedBy { email } viewerCanCancel } }",
        "/licenseChange",
        |firm| json!({ "id": firm.bought.change }),
        LICENSES_INSIDE,
    ),
    read(
        "Query.statement",
        "query ($id: ID!) { statement(id: $id) { total { amount } lines { productName } } }",
        "/statement",
        |firm| json!({ "id": firm.bought.statement }),
        BILLING_INSIDE,
    ),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.bought.quote }), LICENSES_NODE),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.bought.change }), LICENSES_NODE),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.bought.statement }), BILLING_NODE),
    plain("Account.billingProfile", "{ account { billingProfile { taxRate } } }", "/account/billingProfile", BILLING),
    plain("Account.statements", "{ account { statements { nodes { id } } } }", "/account/statements", BILLING),
    plain(
        "Account.licenseChanges",
        "{ account { licenseChanges { nodes { id } } } }",
        "/account/licenseChanges",
        [SIGN_IN, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED],
    ),
    plain("Query.permissions", "{ permissions { key } }", "/permissions", SIGNED_IN),
    read(
        "Query.explainAccess",
        "query ($id: ID!) { explainAccess(memberId: $id, permission: \"members.read\") { granted missing { code } } }",
        "/explainAccess",
        |firm| json!({ "id": firm.colleague.member_id }),
        [SIGN_IN, NOTHING, ALLOWED, ALLOWED, ALLOWED, ALLOWED, FORBIDDEN, ALLOWED],
    ),
    plain("Query.account", "{ account { id } }", "/account", SIGNED_IN),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.colleague.member_id }), INSIDE),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.invited }), MEMBERS_INSIDE),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.invitation }), MEMBERS_INSIDE),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.owner.account_id }), INSIDE),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.import }), IMPORT_NODE),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.unit }), MEMBERS_INSIDE),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.role }), INSIDE),
    read("Query.nodes", NODES, "/nodes/0", |firm| json!({ "id": firm.unit }), MEMBERS_INSIDE),
    read("Query.nodes", NODES, "/nodes/0", |firm| json!({ "id": firm.colleague.member_id }), INSIDE),
    read("Query.nodes", NODES, "/nodes/0", |firm| json!({ "id": firm.invited }), MEMBERS_INSIDE),
    read("Query.nodes", NODES, "/nodes/0", |firm| json!({ "id": firm.invitation }), MEMBERS_INSIDE),
    read("Query.nodes", NODES, "/nodes/0", |firm| json!({ "id": firm.owner.account_id }), INSIDE),
    read("Query.nodes", NODES, "/nodes/0", |firm| json!({ "id": firm.import }), IMPORT_NODE),
    read(
        "Query.memberImport",
        "query ($id: ID!) { memberImport(id: $id) { id rows { nodes { row member { email } } } createdBy { email } } }",
        "/memberImport",
        |firm| json!({ "id": firm.import }),
        IMPORT,
    ),
    plain(
        "Query.memberImportTemplate",
        "{ memberImportTemplate { url columns { name values } } }",
        "/memberImportTemplate/columns",
        IMPORTS,
    ),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.group }), MEMBERS_INSIDE),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.resource }), RESOURCE),
    read(
        "Query.group",
        "query ($id: ID!) { group(id: $id) { members { nodes { email } } } }",
        "/group",
        |firm| json!({ "id": firm.group }),
        GROUP,
    ),
    read(
        "Query.resource",
        "query ($id: ID!) { resource(id: $id) { id } }",
        "/resource",
        |firm| json!({ "id": firm.resource }),
        RESOURCE,
    ),
    read(
        "Query.resourceByExternalId",
        "query ($x: String!) { resourceByExternalId(type: \"matter\", externalId: $x) { id } }",
        "/resourceByExternalId",
        |_| json!({ "x": "nothing" }),
        [SIGN_IN, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING],
    ),
    read(
        "Query.canAccess",
        "query ($m: ID!, $r: ID!) { canAccess(memberId: $m, resources: [{ id: $r }]) { allowed } }",
        "/canAccess/0/allowed",
        |firm| json!({ "m": firm.colleague.member_id, "r": firm.resource }),
        RATE,
    ),
    read(
        "Query.accessibleResources",
        "query ($m: ID!) { accessibleResources(memberId: $m) { nodes { id } } }",
        "/accessibleResources/nodes",
        |firm| json!({ "m": firm.colleague.member_id }),
        RATE,
    ),
    read(
        "Query.effectiveRate",
        "query ($m: ID!, $r: ID!) { effectiveRate(memberId: $m, resourceId: $r) { resourceRate { rate { amount } } } }",
        "/effectiveRate",
        |firm| json!({ "m": firm.colleague.member_id, "r": firm.resource }),
        RATE,
    ),
    of_resource("Resource.groupIds", "/resource/memberIds", RESOURCE),
    of_resource("Resource.memberIds", "/resource/memberIds", RESOURCE),
    of_resource("Resource.rates", "/resource/rates", RESOURCE),
    of_resource("Resource.viewerCanManage", "/resource/viewerCanManage", RESOURCE_MANAGE),
    of_resource("Resource.viewerCanRead", "/resource/viewerCanRead", RESOURCE),
    read(
        "Member.accessibleResources",
        "query ($id: ID!) { node(id: $id) { ... on Member { accessibleResources { nodes { id } } } } }",
        "/node/accessibleResources/nodes",
        |firm| json!({ "id": firm.colleague.member_id }),
        RATE,
    ),
    plain("Account.groups", "{ account { groups { nodes { id } } } }", "/account/groups/nodes", MEMBERS),
    plain("Account.groupsCount", "{ account { groupsCount } }", "/account/groupsCount", MEMBERS),
    plain("Account.resources", "{ account { resources { nodes { id } } } }", "/account/resources/nodes", RESOURCES),
    plain("Account.resourcesCount", "{ account { resourcesCount } }", "/account/resourcesCount", RESOURCES),
    plain(
        "Account.viewerCanManageGroups",
        "{ account { viewerCanManageGroups } }",
        "/account/viewerCanManageGroups",
        MANAGE,
    ),
    read("Query.job", "query ($id: ID!) { job(id: $id) { id } }", "/job", |firm| json!({ "id": firm.import }), IMPORT),
    read(
        "Query.job",
        "query ($id: ID!) { job(id: $id) { id } }",
        "/job",
        |firm| json!({ "id": firm.export }),
        JOB_OF_OWNER,
    ),
    read(
        "Query.export",
        "query ($id: ID!) { export(id: $id) { id url } }",
        "/export/url",
        |firm| json!({ "id": firm.export }),
        OF_OWNER,
    ),
    read("Query.node", NODE, "/node", |firm| json!({ "id": firm.export }), OF_OWNER),
    read("Query.nodes", NODES, "/nodes/0", |firm| json!({ "id": firm.export }), OF_OWNER),
    plain(
        "Query.accountEvents",
        "{ accountEvents { nodes { number networkAddress } } }",
        "/accountEvents/nodes",
        ACTIVITY,
    ),
    // The link is the right.
    read(
        "Query.invitationByToken",
        "query ($token: String!) { invitationByToken(token: $token) { invitation { accountName } userErrors { code } } }",
        "/invitationByToken/invitation",
        |firm| json!({ "token": firm.app.mailbox.to("ivy@harborandfinch.example").expect("a mailbox")[0].token() }),
        [ALLOWED; 8],
    ),
    plain("Account.owner", "{ account { owner { id } } }", "/account/owner", SIGNED_IN),
    plain("Account.members", "{ account { members { nodes { id } } } }", "/account/members/nodes", SIGNED_IN),
    plain("Account.membersCount", "{ account { membersCount } }", "/account/membersCount", SIGNED_IN),
    plain(
        "Account.memberCounts",
        "{ account { memberCounts { active invited suspended deactivated } } }",
        "/account/memberCounts",
        SIGNED_IN,
    ),
    plain(
        "Account.invitations",
        "{ account { invitations { nodes { id email member { email } } } } }",
        "/account/invitations/nodes",
        MEMBERS,
    ),
    plain("Account.invitationsCount", "{ account { invitationsCount } }", "/account/invitationsCount", MEMBERS),
    plain("Account.licensePools", "{ account { licensePools { owned } } }", "/account/licensePools", MEMBERS),
    plain(
        "Account.memberImports",
        "{ account { memberImports { nodes { id } } } }",
        "/account/memberImports/nodes",
        IMPORTS,
    ),
    plain("Account.ssoPolicy", "{ account { ssoPolicy { required exceptions } } }", "/account/ssoPolicy", MEMBERS),
    plain(
        "Query.signInDiagnosis",
        "{ signInDiagnosis(email: \"cora@harborandfinch.example\") { email findings { code } } }",
        "/signInDiagnosis/findings",
        MEMBERS,
    ),
    read(
        "Member.pendingEmailChange",
        "query ($id: ID!) { node(id: $id) { ... on Member { pendingEmailChange { state newEmail requestedAt expiresAt } } } }",
        "/node/pendingEmailChange",
        |firm| json!({ "id": firm.colleague.member_id }),
        MEMBERS_INSIDE,
    ),
    plain("Account.roles", "{ account { roles { name permissions } } }", "/account/roles", SIGNED_IN),
    plain("Account.units", "{ account { units { nodes { id membersCount } } } }", "/account/units/nodes", MEMBERS),
    plain("Account.unitsCount", "{ account { unitsCount } }", "/account/unitsCount", MEMBERS),
    plain("Account.unitsInUse", "{ account { unitsInUse } }", "/account/unitsInUse", SIGNED_IN),
    plain(
        "Account.viewerCanManageRoles",
        "{ account { viewerCanManageRoles { allowed } } }",
        "/account/viewerCanManageRoles/allowed",
        UPDATE,
    ),
    plain(
        "Account.viewerCanManageUnits",
        "{ account { viewerCanManageUnits { allowed } } }",
        "/account/viewerCanManageUnits/allowed",
        MANAGE,
    ),
    read(
        "Role.usage",
        "query ($id: ID!) { node(id: $id) { ... on Role { usage { membersCount } } } }",
        "/node/usage",
        |firm| json!({ "id": firm.role }),
        MEMBERS_INSIDE,
    ),
    read(
        "Role.viewerCanManage",
        "query ($id: ID!) { node(id: $id) { ... on Role { viewerCanManage { allowed } } } }",
        "/node/viewerCanManage/allowed",
        |firm| json!({ "id": firm.role }),
        [SIGN_IN, NOTHING, ALLOWED, NOTHING, NOTHING, NOTHING, NOTHING, ALLOWED],
    ),
    read(
        "Role.viewerCanAssign",
        "query ($id: ID!) { node(id: $id) { ... on Role { viewerCanAssign { allowed } } } }",
        "/node/viewerCanAssign/allowed",
        |firm| json!({ "id": firm.role }),
        [SIGN_IN, NOTHING, ALLOWED, ALLOWED, NOTHING, NOTHING, NOTHING, ALLOWED],
    ),
    read(
        "Unit.viewerCanManage",
        "query ($id: ID!) { node(id: $id) { ... on Unit { viewerCanManage { allowed } } } }",
        "/node/viewerCanManage/allowed",
        |firm| json!({ "id": firm.unit }),
        [SIGN_IN, NOTHING, ALLOWED, ALLOWED, NOTHING, NOTHING, NOTHING, ALLOWED],
    ),
    plain("Viewer.can", "{ viewer { can(permission: \"members.read\") } }", "/viewer/can", VIEWERS_MEMBERS),
    // Nobody here holds anything within a unit only.
    plain(
        "Viewer.unitPermissions",
        "{ viewer { unitPermissions { unitId } } }",
        "/viewer/unitPermissions",
        [NOTHING; 8],
    ),
    plain("Account.viewerCanInvite", "{ account { viewerCanInvite } }", "/account/viewerCanInvite", MANAGE),
    plain("Account.viewerCanImport", "{ account { viewerCanImport } }", "/account/viewerCanImport", MANAGE),
    plain("Account.viewerCanUpdate", "{ account { viewerCanUpdate } }", "/account/viewerCanUpdate", UPDATE),
    plain("Viewer.account", "{ viewer { account { id } } }", "/viewer/account", OWN),
    plain("Viewer.accounts", "{ viewer { accounts { accountId } } }", "/viewer/accounts", OWN),
    plain("Viewer.member", "{ viewer { member { email } } }", "/viewer/member/email", OWN),
    plain(
        "Viewer.permissions",
        "{ viewer { permissions } }",
        "/viewer/permissions",
        [NOTHING, ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED, NOTHING, ALLOWED],
    ),
    plain("Viewer.session", "{ viewer { session { id } } }", "/viewer/session", OWN),
    plain("Viewer.sessions", "{ viewer { sessions { id } } }", "/viewer/sessions", OWN),
    plain("Viewer.user", "{ viewer { user { email } } }", "/viewer/user", OWN),
];

/// What of a member only they themselves and holders of `members.read` see.
pub(crate) const PROFILE: [&str; 24] = [
    "accountRole",
    "address",
    "city",
    "country",
    "createdAt",
    "email",
    "groups",
    "initials",
    "joinedAt",
    "lastActivityAt",
    "lastSignInAt",
    "licenses",
    "phone",
    "roles",
    "state",
    "subscriptionType",
    "timeZone",
    "units",
    "unitsCount",
    "validFrom",
    "validUntil",
    "version",
    "viewerCanReadProfile",
    "zip",
];

/// A field of the colleague's profile.
pub(crate) fn of_profile(field: &'static str) -> Read {
    let selection = match field {
        "roles" => "roles { name }",
        "licenses" => "licenses { reserved }",
        "groups" => "groups { name }",
        "units" => "units { name }",
        field => field,
    };
    let document = format!("query ($id: ID!) {{ node(id: $id) {{ ... on Member {{ value: {selection} }} }} }}");
    Read {
        field,
        document: document.into(),
        pointer: "/node/value",
        variables: |firm| json!({ "id": firm.colleague.member_id }),
        expected: MEMBERS_INSIDE,
    }
}

/// What the answer amounts to.
pub(crate) fn judge(answer: &Answer, pointer: &str) -> String {
    if !answer.errors().is_empty() {
        return format!("error {}", answer.errors().join(" "));
    }
    let value = answer.body["data"].pointer(pointer).cloned().unwrap_or_default();
    let nothing = value.is_null() || value == json!(false) || value == json!([]);
    if nothing { NOTHING } else { ALLOWED }.to_owned()
}
