//! `muster verify`: each rule is broken by hand and found under its name; a database in full use raises no alarm.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use domain::verify::{self, Finding, Level};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::process::Command;

use crate::support::app::{Answer, App, Person};
use crate::support::database::Database;
use domain::permission::SystemRole;

/// A connection that may do anything, as whoever breaks a database has.
async fn connect(app: &App) -> Result<PgConnection> {
    Ok(PgConnection::connect_with(&PgConnectOptions::from_str(app.config.database_url.expose_secret())?).await?)
}

async fn findings(conn: &mut PgConnection) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    verify::run(conn, None, |finding| findings.push(finding)).await?;
    Ok(findings)
}

/// A firm with everything a rule is about: an owner, members of each status, invitations of each kind, an upload, an import.
async fn firm() -> Result<App> {
    let app = App::start().await?;
    let owner = app.found("olivia@harborandfinch.example", 20).await?;
    let ann = app.join(&owner, "ann@harborandfinch.example", &[SystemRole::Standard]).await?;
    let bob = app.join(&owner, "bob@harborandfinch.example", &[SystemRole::Standard]).await?;
    for (mutation, person) in [("memberSuspend", &ann), ("memberDeactivate", &bob)] {
        let done =
            app.mutate(Some(&owner.token), mutation, json!({ "memberId": person.member_id }), "member { id }").await?;
        assert_eq!(done.codes(), Vec::<String>::new());
    }
    app.join(&owner, "cid@harborandfinch.example", &[SystemRole::Standard]).await?;
    for email in ["dan@work.example", "eve@work.example"] {
        assert_eq!(app.invite(&owner, email, &[SystemRole::Standard]).await?.codes(), Vec::<String>::new());
    }
    import(&app, &owner.token).await?;
    buy(&app, &owner).await?;
    places(&app, &owner).await?;
    let gus = app.join(&owner, "gus@harborandfinch.example", &[SystemRole::Standard]).await?;
    done(&app, &owner, "memberDelete", json!({ "memberId": gus.member_id }), "").await?;
    app.settle().await?;
    domain::event::seal::seal_due(&app.db.pool).await?;
    Ok(app)
}

/// Licences that were charged, a period that ended, an add-on that is tried and held, one that is to be given up.
async fn buy(app: &App, owner: &crate::support::app::Person) -> Result<()> {
    crate::billing::world::sell(app, crate::billing::world::CATALOGUE).await?;
    let account = owner.account_id.parse()?;
    let origin = domain::actor::Origin::operator();
    let mut change =
        domain::change::Change::begin(&app.db, account, domain::change::Kind::System, origin, None).await?;
    domain::billing::operate::set_gateway(&mut change, "sandbox").await?;
    domain::billing::operate::set_tax_rate(&mut change, Some(domain::billing::TaxRate(190_000))).await?;
    change.commit().await?;
    let ask = async |mutation: &str, input: Value| -> Result<()> {
        let done = app.mutate(Some(&owner.token), mutation, input, "__typename").await?;
        assert_eq!(done.codes(), Vec::<String>::new(), "{}", done.body);
        app.settle().await
    };
    let confirm = async |mutation: &str, input: Value| -> Result<()> {
        let quoted = app.mutate(Some(&owner.token), "licenseQuoteCreate", input, "quote { id }").await?;
        let quote = quoted.text("/licenseQuoteCreate/quote/id");
        ask(mutation, json!({ "quoteId": quote, "idempotencyKey": quote })).await
    };
    let of = |change: &str, product: &str, quantity: i32| json!({ "change": change, "productId": product, "quantity": quantity });
    confirm("licensesAdd", of("ADD", "base", 3)).await?;
    confirm("licensesAdd", of("ADD", "base", 1)).await?;
    confirm("licensesRemove", of("REMOVE", "base", 1)).await?;
    ask("trialStart", json!({ "productId": "time", "quantity": 2 })).await?;
    ask("licenseAllocate", json!({ "productId": "time", "memberIds": [owner.member_id] })).await
}

/// A mutation that must succeed.
async fn done(app: &App, by: &Person, mutation: &str, input: Value, fields: &str) -> Result<Answer> {
    let answer = app.mutate(Some(&by.token), mutation, input, &format!("__typename {fields}")).await?;
    assert_eq!(answer.codes(), Vec::<String>::new(), "{mutation}");
    Ok(answer)
}

/// A group and a unit, each with somebody in it, a role within the unit, a resource with rates, a credential of the host product.
async fn places(app: &App, owner: &Person) -> Result<()> {
    let hal = app.join(owner, "hal@harborandfinch.example", &[SystemRole::Standard]).await?;
    let unit =
        done(app, owner, "unitCreate", json!({ "name": "Boston" }), "unit { id }").await?.text("/unitCreate/unit/id");
    done(app, owner, "unitAddMembers", json!({ "unitId": unit, "memberIds": [hal.member_id] }), "").await?;
    let limited = [json!({ "roleId": SystemRole::MemberManager.id().to_string(), "unitId": unit })];
    let roles = json!({ "memberId": hal.member_id, "mode": "ADD", "unitRoles": limited });
    done(app, owner, "memberAssignRoles", roles, "").await?;
    let items = [("1", json!(hal.member_id)), ("2", Value::Null)].map(|(id, member)| {
        json!({ "type": "matter", "externalId": id, "name": format!("Matter {id}"), "responsibleMemberId": member, "unitId": unit })
    });
    let made = done(app, owner, "resourceRegister", json!({ "resources": items }), "resources { id }").await?;
    let (first, second) =
        (made.text("/resourceRegister/resources/0/id"), made.text("/resourceRegister/resources/1/id"));
    for name in ["Partners", "Associates"] {
        let made = done(app, owner, "groupCreate", json!({ "name": name }), "group { id }").await?;
        let group = made.text("/groupCreate/group/id");
        done(app, owner, "groupAddMembers", json!({ "groupId": group, "memberIds": [hal.member_id] }), "").await?;
        let to = json!({ "resourceId": first, "groupIds": [group], "memberIds": [owner.member_id] });
        done(app, owner, "resourceGrant", to, "").await?;
        let rate = json!({ "amount": "250.00", "currency": "USD" });
        let rate = json!({ "resourceId": first, "groupId": group, "rate": rate });
        done(app, owner, "resourceRateSet", rate, "").await?;
    }
    done(app, owner, "resourceArchive", json!({ "resourceId": second }), "").await?;
    let scopes = domain::service_token::Scope::ALL;
    let token = domain::service_token::NewToken { name: "host", scopes: &scopes, expires_at: None };
    domain::service_token::create(&app.db, &token).await?;
    Ok(())
}

async fn import(app: &App, token: &str) -> Result<()> {
    let upload = app.mutate(Some(token), "uploadCreate", json!({ "fileName": "m.csv" }), "upload { id url }").await?;
    let file =
        "email,first_name,last_name,subscription_type\nfay@work.example,Fay,Lee,Attorney\nnobody,No,Body,Attorney\n";
    let url = reqwest::Url::parse(&upload.text("/uploadCreate/upload/url"))?;
    app.http.put(format!("{}{}", app.url, url.path())).body(file).send().await?.error_for_status()?;
    let input = json!({ "uploadId": upload.text("/uploadCreate/upload/id") });
    app.mutate(Some(token), "memberImportCreate", input, "memberImport { id }").await?;
    Ok(())
}

/// What breaks each rule, and nothing else. Foreign keys are off (as after a restore without them), other constraints are dropped
/// where they would forbid it.
const BREAKS: &[(&str, &str)] = &[
    ("seats.in_use", "UPDATE license_pool SET in_use = in_use + 1"),
    (
        "seats.oversold",
        "ALTER TABLE license_pool DROP CONSTRAINT license_pool_not_oversold; UPDATE license_pool SET granted = in_use - paid - 1 WHERE product_id = 'base'",
    ),
    (
        "seats.holders",
        "UPDATE license_allocation SET member_id = (SELECT member_id FROM member WHERE status = 'DEACTIVATED')
         WHERE member_id = (SELECT member_id FROM member WHERE status = 'SUSPENDED')",
    ),
    (
        "seats.reserved",
        "UPDATE license_allocation SET reserved = true WHERE member_id = (SELECT member_id FROM account_owner)",
    ),
    ("seats.named", "UPDATE license_pool SET named_held = 1 WHERE product_id = 'base'"),
    ("seats.scheduled", "UPDATE license_pool SET scheduled = 0 WHERE product_id = 'base'"),
    (
        "seats.active",
        "UPDATE license_allocation SET member_id = (SELECT member_id FROM member WHERE status = 'DEACTIVATED') WHERE product_id = 'time'",
    ),
    ("seats.trial", "UPDATE license_pool SET trial = trial + 1 WHERE product_id = 'time'"),
    ("money.billing", "DELETE FROM account_billing"),
    ("money.running", "DELETE FROM billing_period"),
    ("money.periods", "UPDATE billing_period SET anchor_on = anchor_on - 1"),
    (
        "money.numbers",
        "UPDATE account_billing SET next_statement_no = next_statement_no + 1",
    ),
    (
        "money.totals",
        "UPDATE statement SET state = 'OPEN', number = 1, issued_at = now(), issued_on = current_date, total = 1, due = 0;
         UPDATE account_billing SET next_statement_no = 2",
    ),
    (
        "money.tax",
        "UPDATE statement_line SET tax = tax - 1, net = net WHERE position = 1; UPDATE ledger_entry SET amount = amount - 1
         WHERE credit = 'TAX' AND change_id = (SELECT change_id FROM statement_line WHERE position = 1);
         UPDATE license_change c SET tax = c.tax - 1 FROM statement_line l WHERE l.change_id = c.change_id AND l.position = 1;
         UPDATE charge_attempt a SET amount = amount - 1 FROM statement_line l WHERE l.change_id = a.change_id AND l.position = 1;
         UPDATE ledger_entry e SET amount = e.amount - 1 FROM statement_line l WHERE l.change_id = e.change_id AND l.position = 1 AND e.debit = 'CASH'",
    ),
    ("money.additions", "UPDATE billing_period_product SET numerator = numerator + 1000000"),
    (
        "money.credits",
        "INSERT INTO billing_credit (account_id, credit_id, product_id, currency, net, used, reason, created_at)
         SELECT account_id, gen_random_uuid(), 'base', 'EUR', 100, 1, 'x', now() FROM account",
    ),
    ("money.books", "UPDATE ledger_entry SET amount = amount + 1 WHERE credit = 'REVENUE'"),
    ("money.cash", "UPDATE ledger_entry SET amount = amount + 1 WHERE debit = 'CASH'"),
    ("money.quoted", "UPDATE license_change SET net = net + 1 WHERE kind = 'ADD'"),
    (
        "money.applied",
        "UPDATE license_change SET status = 'PENDING', resolved_at = NULL
         WHERE change_id = (SELECT change_id FROM license_change WHERE kind = 'ADD' LIMIT 1)",
    ),
    (
        "money.unresolved",
        "INSERT INTO charge_attempt (account_id, attempt_id, statement_id, attempt_no, gateway, amount, currency, state, sent_at)
         SELECT account_id, gen_random_uuid(), statement_id, 1, 'sandbox', 1, 'EUR', 'UNRESOLVED', now() FROM statement",
    ),
    ("money.overdue", "UPDATE billing_period SET ends_at = now() - interval '1 h'"),
    ("owner.one", "DELETE FROM account_owner"),
    (
        "owner.active",
        "UPDATE account_owner SET member_id = (SELECT member_id FROM member WHERE status = 'SUSPENDED');
         INSERT INTO member_role SELECT account_id, member_id, role_id, unit_id, now() FROM account_owner ON CONFLICT DO NOTHING",
    ),
    (
        "owner.administrator",
        "UPDATE member_role SET role_id = '00000000-0000-7000-8000-000000000002'
         WHERE role_id = '00000000-0000-7000-8000-000000000001'",
    ),
    ("invitations.address", "UPDATE invitation SET email = 'Dan@work.example' WHERE email = 'dan@work.example'"),
    ("invitations.state", "UPDATE invitation SET sent_at = NULL, expires_at = NULL WHERE email = 'dan@work.example'"),
    (
        "invitations.mail",
        "UPDATE invitation SET sent_at = NULL, expires_at = NULL, delivery = 'QUEUED' WHERE email = 'dan@work.example'",
    ),
    (
        "members.status",
        "ALTER TABLE member DROP CONSTRAINT member_check; UPDATE member SET prior_status = 'ACTIVE' WHERE email LIKE 'cid@%'",
    ),
    (
        "members.invitation",
        "INSERT INTO invitation (account_id, invitation_id, member_id, email, state, created_at)
         SELECT account_id, gen_random_uuid(), member_id, email, 'EXPIRED', now() FROM member WHERE status = 'DEACTIVATED'",
    ),
    ("members.activity", "DELETE FROM member_activity WHERE member_id = (SELECT member_id FROM account_owner)"),
    (
        "groups.archived",
        "UPDATE member_group SET archived_at = now() - interval '1 h' WHERE name = 'Partners'",
    ),
    ("units.archived", "UPDATE unit SET archived_at = now() - interval '1 h'; UPDATE member_role SET assigned_at = now() - interval '2 h'"),
    ("units.archived", "UPDATE unit SET archived_at = now() - interval '1 h'; DELETE FROM member_unit"),
    (
        "roles.archived",
        "INSERT INTO role (account_id, role_id, name, created_at, archived_at) SELECT account_id, gen_random_uuid(), 'Old', now(), now() FROM account;
         UPDATE member_role SET role_id = (SELECT role_id FROM role WHERE name = 'Old')
         WHERE member_id = (SELECT member_id FROM member WHERE email LIKE 'cid@%')",
    ),
    (
        "resources.responsible",
        "UPDATE resource SET responsible_member_id = (SELECT member_id FROM member WHERE status = 'DEACTIVATED') WHERE external_id = '1'",
    ),
    (
        "resources.responsible",
        "UPDATE resource SET responsible_member_id = (SELECT member_id FROM member WHERE email = 'dan@work.example') WHERE external_id = '1'",
    ),
    (
        "resources.currency",
        "UPDATE resource_rate SET currency = 'EUR' WHERE group_id = (SELECT group_id FROM member_group WHERE name = 'Partners')",
    ),
    ("resources.archived", "UPDATE resource SET name = 'Matter 2' WHERE external_id = '2'"),
    ("erasure.invitations", "UPDATE invitation SET first_name = 'Gus' WHERE email !~ '@'"),
    ("erasure.invitations", "UPDATE invitation SET email = 'gus@harborandfinch.example' WHERE email !~ '@'"),
    ("members.login", "UPDATE app_user SET email = 'other@work.example' WHERE email LIKE 'cid@%'"),
    ("roles.member", "DELETE FROM member_role WHERE member_id = (SELECT member_id FROM member WHERE email LIKE 'cid@%')"),
    ("roles.system", "INSERT INTO role SELECT account_id, gen_random_uuid(), 'Sixth', 'SIXTH', now() FROM account"),
    (
        "sessions.entry",
        "UPDATE session s SET member_id = m.member_id, user_id = m.user_id FROM member m
         WHERE m.status = 'DEACTIVATED' AND s.member_id = (SELECT member_id FROM account_owner)",
    ),
    ("sessions.person", "UPDATE session SET user_id = gen_random_uuid()"),
    ("imports.members", "UPDATE member_import SET applied = false"),
    ("imports.rows", "DELETE FROM member_import_row WHERE outcome = 'REJECTED'"),
    (
        "imports.ended",
        "ALTER TABLE member_import DROP CONSTRAINT member_import_check; UPDATE member_import SET finished_at = NULL;
         INSERT INTO outbox (job_id, account_id, lane, kind, payload, dedupe_key, wake_at)
         SELECT gen_random_uuid(), account_id, 'BULK', 'import.members', '{}', 'imp_' || replace(import_id::text, '-', ''),
                now() + interval '1 h' FROM member_import",
    ),
    ("imports.stranded", "UPDATE member_import SET state = 'RUNNING', finished_at = NULL"),
    (
        "exports.stranded",
        "INSERT INTO export (account_id, export_id, kind, requested_by, state, created_at, expires_at)
         SELECT account_id, gen_random_uuid(), 'MEMBERS', member_id, 'QUEUED', now(), now() + interval '7 days' FROM account_owner",
    ),
    ("tokens.hashed", "UPDATE session SET token_hash = convert_to(session_id::text || session_id, 'UTF8')"),
    (
        "tokens.leaked",
        "INSERT INTO outbox (job_id, account_id, lane, kind, payload, dedupe_key, finished_at)
         SELECT gen_random_uuid(), account_id, 'BULK', 'x', to_jsonb('minv.' || replace(account_id::text, '-', '') || '.' || repeat('a', 43)),
                'x', now() FROM account",
    ),
    ("tokens.before_sign_in", "UPDATE sign_up SET token_hash = 'x'"),
    ("tokens.service", "UPDATE service_token SET token_hash = 'x'"),
    ("passwords.hashed", "UPDATE user_credential SET password_hash = 'correct horse battery'"),
    ("users.login", "INSERT INTO app_user VALUES (gen_random_uuid(), 'nobody@work.example', now())"),
    ("tenancy.members", "INSERT INTO member_activity (account_id, member_id) SELECT account_id, gen_random_uuid() FROM account"),
    ("tenancy.roles", "INSERT INTO role_permission SELECT account_id, gen_random_uuid(), 'members.invite' FROM account"),
    ("tenancy.members", "UPDATE resource SET responsible_member_id = gen_random_uuid()"),
    ("tenancy.members", "UPDATE group_member SET member_id = gen_random_uuid()"),
    ("tenancy.members", "UPDATE member_unit SET member_id = gen_random_uuid()"),
    ("tenancy.members", "UPDATE resource_member SET member_id = gen_random_uuid()"),
    ("tenancy.members", "INSERT INTO sso_exception SELECT account_id, gen_random_uuid() FROM account"),
    ("tenancy.places", "DELETE FROM unit"),
    ("tenancy.places", "DELETE FROM member_group"),
    ("tenancy.places", "DELETE FROM resource"),
    ("tenancy.places", "UPDATE resource SET unit_id = gen_random_uuid()"),
    ("tenancy.parts", "INSERT INTO session_activity SELECT account_id, gen_random_uuid(), now() FROM account"),
    ("outbox.state", "UPDATE outbox SET finished_at = NULL WHERE kind = 'mail.sign_up'"),
    (
        "outbox.lease",
        "INSERT INTO outbox (job_id, account_id, lane, kind, payload, dedupe_key, wake_at, claim)
         SELECT gen_random_uuid(), account_id, 'MONEY', 'x', '{}', 'x', now() + interval '1 h', gen_random_uuid() FROM account",
    ),
    (
        "outbox.once",
        "DROP INDEX outbox_once; INSERT INTO outbox (job_id, account_id, lane, kind, payload, dedupe_key, wake_at)
         SELECT gen_random_uuid(), account_id, 'MONEY', 'x', '{}', 'x', now() + interval '1 h' FROM account, generate_series(1, 2)",
    ),
    (
        "outbox.account",
        "INSERT INTO outbox (job_id, account_id, lane, kind, payload, dedupe_key, finished_at)
         VALUES (gen_random_uuid(), gen_random_uuid(), 'BULK', 'x', '{}', 'x', now())",
    ),
    (
        "outbox.unknown_kind",
        "INSERT INTO outbox (job_id, account_id, lane, kind, payload, dedupe_key, dead_at, last_error_code)
         SELECT gen_random_uuid(), account_id, 'MONEY', 'x', '{}', 'x', now(), 'UNKNOWN_KIND' FROM account",
    ),
    (
        "outbox.overdue",
        "INSERT INTO outbox (job_id, account_id, lane, kind, payload, dedupe_key, wake_at)
         SELECT gen_random_uuid(), account_id, 'MONEY', 'x', '{}', 'x', now() - interval '1 h' FROM account",
    ),
    ("feed.subject", "UPDATE event_personal SET subject_id = gen_random_uuid()"),
    ("feed.digest", "UPDATE event_personal SET body = body || '{\"networkAddress\": \"192.0.2.1\"}'"),
    ("feed.personal", "INSERT INTO event_personal SELECT account_id, gen_random_uuid(), NULL, NULL, 'x', '{}' FROM account"),
    ("seals.chain", "UPDATE event SET detail = detail || '{\"x\": 1}' WHERE seq = 3"),
    ("seals.chain", "UPDATE event_seal SET seal = 'x'"),
    ("seals.late", "DELETE FROM event_seal; UPDATE event SET occurred_at = occurred_at - interval '1 h'"),
    ("tenancy.keys", "CREATE UNIQUE INDEX by_member ON member (member_id)"),
    (
        "schema.valid",
        "ALTER TABLE account ADD CONSTRAINT short CHECK (length(name) < 3) NOT VALID",
    ),
    ("grants.history", "GRANT UPDATE (kind) ON event TO muster_runtime"),
    ("grants.history", "GRANT DELETE ON event_seal TO muster_runtime"),
    ("grants.owner", "GRANT TRUNCATE ON member TO muster_runtime"),
    ("grants.catalogue", "GRANT INSERT ON permission TO muster_runtime"),
    ("schema.personal", "ALTER TABLE account ADD COLUMN motto text"),
];

/// What cannot be broken without breaking another rule as well: both are named.
const BREAKS_WITH_OTHERS: &[(&[&str], &str)] = &[
    (&["seats.pool", "tenancy.parts"], "DELETE FROM license_pool"),
    (
        &["invitations.one_open", "seats.holders"],
        "DROP INDEX invitation_one_open_per_member;
         INSERT INTO invitation (account_id, invitation_id, member_id, email, state, created_at)
         SELECT account_id, gen_random_uuid(), member_id, email, 'EXPIRED', now() FROM member WHERE email = 'dan@work.example'",
    ),
    (
        &["invitations.one_live", "members.once"],
        "DROP INDEX invitation_one_live_per_address; ALTER TABLE member DROP CONSTRAINT member_account_id_email_key;
         UPDATE invitation SET email = 'dan@work.example' WHERE email = 'eve@work.example';
         UPDATE member SET email = 'dan@work.example' WHERE email = 'eve@work.example'",
    ),
    (
        &["members.once", "members.login", "users.login"],
        "ALTER TABLE member DROP CONSTRAINT member_account_id_user_id_key;
         UPDATE member SET user_id = (SELECT user_id FROM member WHERE email LIKE 'ann@%') WHERE email LIKE 'bob@%'",
    ),
    (
        &["erasure.events", "seals.chain"],
        "UPDATE event SET kind = 'member.deleted'
         WHERE kind = 'invitation.accepted' AND subject_id = (SELECT member_id FROM member WHERE email LIKE 'cid@%')",
    ),
    (&["feed.row"], "DELETE FROM account_feed"),
    (&["feed.gapless", "seals.chain", "feed.personal"], "DELETE FROM event WHERE seq = 3"),
    (&["feed.gapless", "seals.chain"], "UPDATE account_feed SET next_seq = next_seq + 1"),
    (
        &["feed.once", "seals.chain"],
        "ALTER TABLE event DROP CONSTRAINT event_pkey; ALTER TABLE event DROP CONSTRAINT event_account_id_event_id_key;
         INSERT INTO event SELECT * FROM event WHERE seq = 3",
    ),
];

/// Copies of a database that nobody is connected to.
struct Original {
    server: PgConnection,
    options: PgConnectOptions,
    name: String,
}

impl Original {
    /// The app loses its connections, and can only be closed.
    async fn of(app: &App) -> Result<Self> {
        let options = PgConnectOptions::from_str(app.config.database_url.expose_secret())?;
        let name = options.get_database().context("a database of its own")?.to_owned();
        let mut server = PgConnection::connect_with(&options.clone().database("postgres")).await?;
        server.execute(AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"))).await?;
        let ended = sqlx::query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1");
        ended.bind(&name).execute(&mut server).await?;
        Ok(Self { server, options, name })
    }

    /// Breaks a copy and answers which rules are then found broken.
    async fn named(&mut self, damage: &str) -> Result<BTreeSet<String>> {
        let copy = format!("{}_copy", self.name);
        self.server.execute(AssertSqlSafe(format!("CREATE DATABASE {copy} TEMPLATE {}", self.name))).await?;
        let found = Self::broken(self.options.clone().database(&copy), damage).await;
        self.server.execute(AssertSqlSafe(format!("DROP DATABASE {copy} WITH (FORCE)"))).await?;
        found.with_context(|| damage.to_owned())
    }

    async fn broken(copy: PgConnectOptions, damage: &str) -> Result<BTreeSet<String>> {
        let mut conn = PgConnection::connect_with(&copy).await?;
        conn.execute("SET session_replication_role = replica").await?;
        conn.execute(AssertSqlSafe(damage.to_owned())).await?;
        let found = findings(&mut conn).await?;
        Ok(found.into_iter().map(|finding| finding.check.to_owned()).collect())
    }
}

#[tokio::test]
async fn each_broken_rule_is_found_under_its_name() -> Result<()> {
    let app = firm().await?;
    let mut conn = connect(&app).await?;
    assert_eq!(findings(&mut conn).await?, [], "nothing is broken yet");
    drop(conn);
    let mut original = Original::of(&app).await?;
    let mut untried: BTreeSet<&str> = verify::names().into_iter().collect();
    let single = BREAKS.iter().map(|(name, damage)| (std::slice::from_ref(name), *damage));
    let mut wrong = Vec::new();
    for (names, damage) in single.chain(BREAKS_WITH_OTHERS.iter().copied()) {
        let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let found = original.named(damage).await?;
        if found != wanted {
            wrong.push(format!("{wanted:?} is found as {found:?}: {damage}"));
        }
        for name in names {
            untried.remove(name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(untried.is_empty(), "no test breaks {untried:?}");
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn a_finding_shows_ids_and_nothing_personal() -> Result<()> {
    let app = firm().await?;
    let mut conn = connect(&app).await?;
    conn.execute("DELETE FROM member_role WHERE member_id = (SELECT member_id FROM member WHERE email LIKE 'cid@%')")
        .await?;
    let member =
        app.look("SELECT 'mem_' || replace(member_id::text, '-', '') FROM member WHERE email LIKE 'cid@%'").await?;
    let account =
        app.look("SELECT 'acc_' || replace(account_id::text, '-', '') FROM account").await?.context("an account")?;
    let member = member.context("a member")?;

    let (code, text) = verify_by_hand(&app, &[]).await?;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("broken   roles.member: every member has a role\n"), "{text}");
    assert!(text.contains(&format!("account={account} member={member}\n")), "{text}");
    let (code, text) = verify_by_hand(&app, &["--json", "--account", &account]).await?;
    let document: Value = serde_json::from_str(&text)?;
    assert_eq!((code, &document["broken"], &document["accounts"]), (Some(1), &json!(1), &json!(1)), "{text}");
    assert_eq!(document["findings"][0]["rows"], json!([{ "account": account, "member": member }]), "{text}");
    assert!(!text.contains("example"), "an address: {text}");

    let (code, _) = verify_by_hand(&app, &["--account", "acc_00000000000070008000000000000000"]).await?;
    assert_eq!(code, Some(1), "there is no such account");
    app.finish().await
}

/// Runs the program; answers how it ended and what it printed.
async fn verify_by_hand(app: &App, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let program = std::env::var("MUSTER_BIN").context("MUSTER_BIN is set by ./dev test")?;
    let run = Command::new(program)
        .arg("verify")
        .args(arguments)
        .env_clear()
        .env("DATABASE_URL", app.config.database_url.expose_secret())
        .output()
        .await?;
    Ok((run.status.code(), String::from_utf8(run.stdout)?))
}

#[tokio::test]
async fn looking_writes_nothing() -> Result<()> {
    let database = Database::new().await;
    crate::support::firm::found(&database.db, "jane@doe.example").await;
    let mut conn = PgConnection::connect_with(&PgConnectOptions::from_str(database.url().expose_secret())?).await?;
    // A statement that writes, or that locks rows, fails in here.
    conn.execute("SET default_transaction_read_only = on").await?;
    let found = findings(&mut conn).await?;
    assert!(found.iter().all(|finding| finding.level == Level::Warning), "{found:#?}");
    Ok(())
}
