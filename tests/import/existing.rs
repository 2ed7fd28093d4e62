//! People who are there already: brought up to date if that is wanted, and never more than that.

use domain::actor::{Actor, Assignment};
use domain::group::{self, NewGroup};
use domain::id::{GroupId, MemberId, RoleId};
use domain::import::{Options, Outcome};
use domain::infra::clock::Date;
use domain::invitation::{self, ErrorPolicy, Invite};
use domain::member::{self, Place, Validity};
use domain::permission::SystemRole;
use domain::unit::{self, NewUnit};
use futures::FutureExt as _;

use super::world::World;

const HEADER: &str = "email,first_name,last_name,subscription_type,job_title,roles,groups";
const UPDATE: fn() -> Options = || Options { update_existing: true, ..Options::default() };

async fn import(world: &World, by: &Actor, rows: &[&str], options: Options) -> domain::id::ImportId {
    let file = format!("{HEADER}\n{}\n", rows.join("\n"));
    let import = world.start_with(by, file.as_bytes(), options).await;
    assert_eq!(world.work().await, domain::job::Verdict::Settled);
    import
}

/// Outcome and codes of each row.
async fn outcomes(world: &World, import: domain::id::ImportId) -> Vec<(Outcome, Vec<&'static str>)> {
    let rows = world.rows(import, None).await;
    rows.iter().map(|row| (row.outcome, row.faults.iter().map(|fault| fault.code.as_str()).collect())).collect()
}

async fn group(world: &World, name: &str) -> GroupId {
    let name = name.to_owned();
    world
        .ask(&world.owner, move |change, actor| {
            let new = NewGroup { name: name.clone(), description: None, excluded_from_custom_rates: false };
            async move { group::create(change, actor, &new, 100).await }.boxed()
        })
        .await
        .unwrap()
}

async fn text(world: &World, sql: &'static str) -> String {
    sqlx::query_scalar(sql).fetch_one(&world.db.pool).await.unwrap()
}

#[tokio::test]
async fn members_get_the_values_of_their_rows_and_further_roles_and_groups() {
    let world = World::new(20).await;
    let tax = group(&world, "Tax").await;
    group(&world, "Litigation").await;
    let ann = world.member("ann@firm.example", SystemRole::Auditor).await;
    world.invite(&world.owner, "bob@firm.example", SystemRole::Standard.id()).await.unwrap();
    let rows =
        ["ann@firm.example,Ann,Lee,Attorney,Partner,Standard,tax|Litigation", "bob@firm.example,Bob,Ray,Attorney,,,"];
    let first = import(&world, &world.owner, &rows, UPDATE()).await;
    assert_eq!(outcomes(&world, first).await, [(Outcome::Updated, vec![]), (Outcome::Updated, vec![])]);
    let changes = &world.rows(first, None).await[0].changes;
    assert_eq!(changes, &["first_name", "last_name", "subscription_type", "job_title", "roles", "groups"]);
    assert_eq!(
        text(&world, "SELECT concat_ws(' ', first_name, last_name, job_title, status, version) FROM member WHERE email LIKE 'ann@%'").await,
        "Ann Lee Partner ACTIVE 3"
    );
    assert_eq!(text(&world, "SELECT last_name FROM invitation WHERE email LIKE 'bob@%'").await, "Ray");
    let of_ann =
        "SELECT count(*) FROM member_role r JOIN member m USING (account_id, member_id) WHERE email LIKE 'ann@%'";
    assert_eq!(world.count(of_ann).await, 2, "the role she had stays");
    assert_eq!(world.count("SELECT count(*) FROM group_member").await, 2);
    let events =
        "SELECT count(*) FROM event WHERE kind IN ('member.updated', 'member.roles_changed', 'group.members_added')";
    assert_eq!(world.count(events).await, 2 + 1 + 2);

    let second = import(&world, &world.owner, &rows, UPDATE()).await;
    assert_eq!(outcomes(&world, second).await, [(Outcome::Unchanged, vec![]), (Outcome::Unchanged, vec![])]);
    assert_eq!(world.count(events).await, 5, "the second time changes nothing");
    let cleared = import(&world, &world.owner, &["ann@firm.example,Ann,Lee,Attorney,,,"], UPDATE()).await;
    assert_eq!(
        world.rows(cleared, None).await[0].changes,
        ["job_title"],
        "an empty cell clears, and takes no role or group"
    );
    assert_eq!((world.count(of_ann).await, world.count("SELECT count(*) FROM group_member").await), (2, 2));
    assert_eq!((ann.account_id, world.seats().await), (world.account(), (3, 3)));

    world.ask(&world.owner, move |c, a| group::archive(c, a, tax).boxed()).await.unwrap();
    let archived = import(&world, &world.owner, &["eve@firm.example,Eve,Ek,Attorney,,,Tax"], UPDATE()).await;
    assert_eq!(outcomes(&world, archived).await, [(Outcome::Rejected, vec!["UNKNOWN_GROUP"])]);
    world.end().await;
}

#[tokio::test]
async fn the_owner_and_who_is_shut_out_are_never_changed() {
    let world = World::new(20).await;
    let mut ids: Vec<MemberId> = Vec::new();
    for email in ["sue@firm.example", "dan@firm.example"] {
        ids.push(world.member(email, SystemRole::Standard).await.member_id);
    }
    let (sue, dan) = (ids[0], ids[1]);
    world.ask(&world.owner, move |c, a| member::suspend(c, a, sue).boxed()).await.unwrap();
    sqlx::query("UPDATE member SET status = 'DEACTIVATED', prior_status = 'ACTIVE' WHERE member_id = $1")
        .bind(dan.0)
        .execute(&world.db.pool)
        .await
        .unwrap();
    let before = text(&world, "SELECT string_agg(m::text, '|' ORDER BY member_id) FROM member m").await;
    let rows = [
        "owner@firm.example,New,Name,Attorney,,Auditor,",
        "sue@firm.example,New,Name,Attorney,,,",
        "dan@firm.example,New,Name,Attorney,,,",
    ];
    let import_id = import(&world, &world.owner, &rows, UPDATE()).await;
    let expected = ["OWNER_PROTECTED", "NOT_IMPORTABLE", "NOT_IMPORTABLE"];
    assert_eq!(outcomes(&world, import_id).await, expected.map(|code| (Outcome::Rejected, vec![code])));
    assert_eq!(text(&world, "SELECT string_agg(m::text, '|' ORDER BY member_id) FROM member m").await, before);
    // What they have already is no fault, whatever their status.
    sqlx::query("UPDATE member SET subscription_type = 'ATTORNEY'").execute(&world.db.pool).await.unwrap();
    let same = [
        "owner@firm.example,Olga,Owner,Attorney,,,",
        "sue@firm.example,A,B,Attorney,,,",
        "dan@firm.example,A,B,Attorney,,,",
    ];
    let import_id = import(&world, &world.owner, &same, Options::default()).await;
    assert_eq!(outcomes(&world, import_id).await, [1, 2, 3].map(|_| (Outcome::Unchanged, vec![])));
    world.end().await;
}

#[tokio::test]
async fn nobody_changes_by_import_whom_they_could_not_change_otherwise() {
    let world = World::new(20).await;
    world.member("admin@firm.example", SystemRole::Administrator).await;
    world.member("ann@firm.example", SystemRole::Standard).await;
    let manager = world.member("manager@firm.example", SystemRole::MemberManager).await;
    let rows = [
        "admin@firm.example,New,Name,Attorney,,,",
        "ann@firm.example,A,B,Attorney,,Administrator,",
        "ann@firm.example,A,B,Attorney,,,",
        "manager@firm.example,Mia,Lee,Attorney,,,",
    ];
    let import_id = import(&world, &manager, &rows, UPDATE()).await;
    assert_eq!(
        outcomes(&world, import_id).await,
        [
            (Outcome::Rejected, vec!["NOT_PERMITTED"]),
            (Outcome::Rejected, vec!["ROLE_NOT_PERMITTED"]),
            (Outcome::Rejected, vec!["DUPLICATE_IN_FILE"]),
            (Outcome::Updated, vec![]),
        ]
    );
    let rows = world.rows(import_id, None).await;
    let quoted = |row: usize| rows[row].faults[0].value.as_deref();
    assert_eq!((quoted(0), quoted(1)), (Some("admin@firm.example"), Some("Administrator")));
    let duplicate = &rows[2].faults[0].sentence;
    assert!(duplicate.starts_with("Row 3 of the file"), "{duplicate}");
    world.end().await;
}

#[tokio::test]
async fn what_somebody_has_already_is_no_fault() {
    let world = World::new(20).await;
    let tax = group(&world, "ΠΩΛΗΣΕΙΣ").await;
    let admin = world.member("admin@firm.example", SystemRole::Administrator).await;
    let id = admin.member_id;
    let join = world.ask(&world.owner, move |c, a| {
        async move { group::add_members(c, a, tax, &[id], ErrorPolicy::AllOrNothing).await.map(|_| ()) }.boxed()
    });
    join.await.unwrap();
    let auditor = world.member("auditor@firm.example", SystemRole::Auditor).await;
    let manager = world.member("manager@firm.example", SystemRole::MemberManager).await;
    // Who has joined never said what their subscription covers; and the account accepts other addresses by now.
    let policy = "UPDATE account SET allowed_domains = '{elsewhere.example}'";
    sqlx::query(policy).execute(&world.db.pool).await.unwrap();
    let rows = [
        "admin@firm.example,A,B,,,Administrator,ΠΩΛΗΣΕΙΣ",
        "auditor@firm.example,A,B,,,Auditor,",
        "auditor2@firm.example,A,B,Attorney,,,",
        "owner@firm.example,Olga,Owner,,,,",
    ];
    let import_id = import(&world, &manager, &rows, UPDATE()).await;
    let unchanged = || (Outcome::Unchanged, vec![]);
    assert_eq!(
        outcomes(&world, import_id).await,
        [unchanged(), unchanged(), (Outcome::Rejected, vec!["DOMAIN_NOT_ALLOWED"]), unchanged()]
    );
    // Of somebody who is there as the row says, and is in the file twice, only that is told.
    let import_id = import(&world, &manager, &[rows[1], rows[1]], Options::default()).await;
    assert_eq!(outcomes(&world, import_id).await, [unchanged(), (Outcome::Rejected, vec!["DUPLICATE_IN_FILE"])]);
    // All that is wrong with a change is told at once.
    let rows = ["admin@firm.example,A,,,,Administrator,Sales"];
    let import_id = import(&world, &manager, &rows, UPDATE()).await;
    assert_eq!(
        outcomes(&world, import_id).await,
        [(Outcome::Rejected, vec!["NOT_PERMITTED", "REQUIRED", "UNKNOWN_GROUP"])]
    );
    assert!(auditor.account_id == world.account());
    world.end().await;
}

#[tokio::test]
async fn defaults_go_to_new_members_only_and_must_be_the_importers_to_give() {
    let world = World::new(20).await;
    let tax = group(&world, "Tax").await;
    world.member("ann@firm.example", SystemRole::Standard).await;
    let manager = world.member("manager@firm.example", SystemRole::MemberManager).await;
    let options = || Options { default_roles: vec![SystemRole::Auditor.id()], default_groups: vec![tax], ..UPDATE() };
    let upload = world.create_upload(&manager).await;
    world.put(upload, b"email,first_name,last_name,subscription_type\n").await.unwrap();
    let Err(domain::error::Error::Refused(list)) = world.start_of(&manager, upload, options()).await else { panic!() };
    assert_eq!(
        (list[0].code, &list[0].field[..]),
        (domain::error::Code::NotPermitted, &["defaultRoleIds".to_owned()][..])
    );

    let rows = [
        "ann@firm.example,A,B,Attorney,,,",
        "eve@firm.example,A,B,Attorney,,,",
        "pat@firm.example,A,B,Attorney,,Standard,",
    ];
    let import_id = import(&world, &world.owner, &rows, options()).await;
    assert_eq!(world.read(import_id).await.rows_invited, 2);
    let roles = text(
        &world,
        "SELECT string_agg(split_part(m.email, '@', 1) || ' ' || r.name, ', ' ORDER BY m.email) FROM member m
         JOIN member_role USING (account_id, member_id) JOIN role r USING (account_id, role_id)
         WHERE m.email ~ '^(ann|eve|pat)@'",
    );
    assert_eq!(roles.await, "ann Standard, eve Auditor, pat Standard");
    assert_eq!(world.count("SELECT count(*) FROM group_member").await, 2);

    // Archived before its rows come.
    let later = world
        .start_with(
            &world.owner,
            b"email,first_name,last_name,subscription_type\nz@firm.example,A,B,Attorney\n",
            options(),
        )
        .await;
    world.ask(&world.owner, move |c, a| group::archive(c, a, tax).boxed()).await.unwrap();
    assert_eq!(world.work().await, domain::job::Verdict::Settled);
    assert_eq!(world.read(later).await.error_code.as_deref(), Some("DEFAULTS_GONE"));
    world.end().await;
}

async fn role(world: &World, name: &str, permissions: &[&str]) -> RoleId {
    let sql = "WITH r AS (INSERT INTO role (account_id, role_id, name, created_at)
                          SELECT account_id, gen_random_uuid(), $1, now() FROM account RETURNING account_id, role_id),
                    p AS (INSERT INTO role_permission (account_id, role_id, permission) SELECT account_id, role_id, unnest($2::text[]) FROM r)
               SELECT role_id FROM r";
    RoleId(sqlx::query_scalar(sql).bind(name).bind(permissions).fetch_one(&world.db.pool).await.unwrap())
}

/// Invites Lou with a role in a unit, a group, a message and a last day, and lets that lapse or only be overdue.
async fn let_lapse(world: &World, swept: bool) {
    let tax = group(world, "Tax").await;
    let berlin = world.ask(&world.owner, |change, actor| {
        let new = NewUnit { name: "Berlin".to_owned(), description: None };
        async move { unit::create(change, actor, &new, 100).await }.boxed()
    });
    let berlin = berlin.await.unwrap();
    let desk = role(world, "Desk", &[]).await;
    let until = Date(jiff::civil::date(2199, 12, 31));
    let invite = Invite {
        wishes: Vec::new(),
        email: "lou@firm.example".to_owned(),
        first_name: Some("Lou".to_owned()),
        last_name: Some("Lee".to_owned()),
        message: Some("Come in".to_owned()),
        subscription_type: None,
        place: Place {
            assignments: vec![Assignment { role_id: desk, unit_id: berlin }],
            units: vec![berlin],
            groups: vec![tax],
        },
        validity: Validity { from: None, until: Some(until) },
    };
    let invited = world.ask(&world.owner, move |change, actor| {
        let invite = invite.clone();
        async move { invitation::invite(change, actor, &[invite], true, ErrorPolicy::AllOrNothing).await }.boxed()
    });
    assert!(invited.await.unwrap().refused.is_empty());
    // Its mail was never sent.
    world.db.clock.advance(jiff::SignedDuration::from_hours(73));
    if swept {
        let system = domain::actor::Origin::system();
        let begun =
            domain::change::Change::begin(&world.db, world.account(), domain::change::Kind::System, system, None);
        let mut change = begun.await.unwrap();
        assert_eq!(invitation::lapse_account(&mut change).await.unwrap(), 1);
        change.commit().await.unwrap();
    }
}

/// All that an invitation gives Lou.
async fn given(world: &World) -> String {
    let sql = "SELECT concat_ws(', ', m.first_name, m.job_title, m.valid_until, i.message, i.state,
                   (SELECT string_agg(r.name || coalesce(' in ' || u.name, ''), ' and ' ORDER BY r.name) FROM member_role
                    JOIN role r USING (account_id, role_id) LEFT JOIN unit u USING (account_id, unit_id) WHERE member_id = m.member_id),
                   (SELECT string_agg(u.name, ' ') FROM member_unit JOIN unit u USING (account_id, unit_id) WHERE member_id = m.member_id),
                   (SELECT string_agg(g.name, ' ') FROM group_member JOIN member_group g USING (account_id, group_id)
                    WHERE member_id = m.member_id))
               FROM member m JOIN invitation i USING (account_id, member_id) WHERE m.email LIKE 'lou@%'";
    text(world, sql).await
}

#[tokio::test]
async fn whoever_let_an_invitation_lapse_is_invited_anew_only_if_their_row_differs_and_keeps_the_rest() {
    for (swept, policy) in [
        (true, ErrorPolicy::Partial),
        (false, ErrorPolicy::Partial),
        (true, ErrorPolicy::AllOrNothing),
        (false, ErrorPolicy::AllOrNothing),
    ] {
        let world = World::new(20).await;
        let_lapse(&world, swept).await;
        let options = || Options { error_policy: policy, ..Options::default() };
        let before = given(&world).await;
        let state = if swept { "EXPIRED" } else { "PENDING" };
        assert_eq!(before, format!("Lou, 2199-12-31, Come in, {state}, Desk in Berlin, Berlin, Tax"));
        let same = import(&world, &world.owner, &["lou@firm.example,Lou,Lee,,,,"], options()).await;
        assert_eq!(outcomes(&world, same).await, [(Outcome::Unchanged, vec![])]);
        assert_eq!(
            given(&world).await,
            before.replace("PENDING", "EXPIRED"),
            "what is overdue lapses, and nothing else changes"
        );

        let differs = import(&world, &world.owner, &["lou@firm.example,Lou,Lee,,Clerk,Auditor,"], options()).await;
        assert_eq!(outcomes(&world, differs).await, [(Outcome::Invited, vec![])]);
        assert_eq!(
            given(&world).await,
            "Lou, Clerk, 2199-12-31, Come in, NOT_SENT, Auditor and Desk in Berlin, Berlin, Tax"
        );
        let replaced = "SELECT count(*) FROM invitation WHERE state = 'REVOKED' AND member_id IS NULL";
        assert_eq!((world.count(replaced).await, world.seats().await), (1, (2, 2)));
        world.end().await;
    }
}

#[tokio::test]
async fn nobody_gives_anew_what_they_could_not_give() {
    let world = World::new(20).await;
    let manager = world.member("manager@firm.example", SystemRole::MemberManager).await;
    world.invite(&world.owner, "lou@firm.example", SystemRole::Administrator.id()).await.unwrap();
    world.db.clock.advance(jiff::SignedDuration::from_hours(73));
    let actor = Actor { now: world.db.now().await.unwrap(), ..manager };
    let import_id = import(&world, &actor, &["lou@firm.example,Lou,Lee,Attorney,,,"], Options::default()).await;
    assert_eq!(outcomes(&world, import_id).await, [(Outcome::Rejected, vec!["ROLE_NOT_PERMITTED"])]);
    let policy = "UPDATE account SET allowed_domains = '{elsewhere.example}'";
    sqlx::query(policy).execute(&world.db.pool).await.unwrap();
    let import_id = import(&world, &world.owner, &["lou@firm.example,Lou,Lee,Attorney,,,"], Options::default()).await;
    assert_eq!(outcomes(&world, import_id).await, [(Outcome::Rejected, vec!["DOMAIN_NOT_ALLOWED"])]);
    world.end().await;
}

/// An administrator corrects somebody's name between the moment at which their row is read and that at which they are replaced.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_corrected_meanwhile_is_kept_by_whoever_is_invited_anew() {
    let world = World::new(20).await;
    let_lapse(&world, true).await;
    let file = b"email,first_name,last_name,subscription_type\nlou@firm.example,Lou,Lee,Attorney\n";
    let import_id = world.start(&world.owner, file, false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import_id);
    assert_eq!(run.step().await.unwrap(), domain::import::Step::Going);
    let mut correction = world.db.pool.begin().await.unwrap();
    let correct = "UPDATE member SET job_title = 'Clerk', version = version + 1 WHERE email LIKE 'lou@%'";
    sqlx::query(correct).execute(&mut *correction).await.unwrap();
    let others = async {
        while !world.waits().await {
            tokio::task::yield_now().await;
        }
        correction.commit().await.unwrap();
    };
    let work = async { while run.step().await.unwrap() == domain::import::Step::Going {} };
    tokio::join!(others, work);
    assert_eq!(outcomes(&world, import_id).await, [(Outcome::Invited, vec![])]);
    let given = given(&world).await;
    assert!(given.starts_with("Lou, Clerk, "), "{given}");
    world.end().await;
}

/// The right to suspend people comes into a role that somebody gets again, while an importer who lacks it gives it.
#[tokio::test(flavor = "multi_thread")]
async fn roles_within_units_that_are_given_again_are_looked_at_before_the_commit() {
    let world = World::new(30).await;
    let_lapse(&world, true).await;
    let file = format!("{HEADER}\nlou@firm.example,Lou,Lee,Attorney,,,\n");
    let importer = role(&world, "Importer", &["imports.run", "imports.read", "groups.manage"]).await;
    let actor = world.member_with("importer@firm.example", importer).await;
    let options = Options { error_policy: ErrorPolicy::AllOrNothing, ..Options::default() };
    let import_id = world.start_with(&actor, file.as_bytes(), options).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import_id);
    while world.read(import_id).await.rows_invited < 1 {
        assert_eq!(run.step().await.unwrap(), domain::import::Step::Going);
    }
    // It waits once Lou is invited.
    let mut row = world.db.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM member_import_row FOR UPDATE").execute(&mut *row).await.unwrap();
    let others = async {
        while !world.waits().await {
            tokio::task::yield_now().await;
        }
        let more = "INSERT INTO role_permission (account_id, role_id, permission)
                    SELECT account_id, role_id, 'members.suspend' FROM role WHERE name = 'Desk'";
        sqlx::query(more).execute(&world.db.pool).await.unwrap();
        let moved = "UPDATE account_feed SET access_version = access_version + 1";
        sqlx::query(moved).execute(&world.db.pool).await.unwrap();
        row.rollback().await.unwrap();
    };
    let work = async { while run.step().await.unwrap() == domain::import::Step::Going {} };
    tokio::join!(others, work);
    assert_eq!(world.read(import_id).await.error_code.as_deref(), Some("ROWS_REJECTED"));
    assert_eq!(outcomes(&world, import_id).await, [(Outcome::Rejected, vec!["ROLE_NOT_PERMITTED"])]);
    world.end().await;
}
