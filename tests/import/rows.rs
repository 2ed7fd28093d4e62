//! What becomes of rows.

use std::fmt::Write as _;

use domain::import::{Outcome, Step};
use domain::job::Verdict;
use domain::member;
use domain::permission::SystemRole;
use futures::FutureExt as _;
use tracing::Instrument as _;

use super::world::{MEMBERS, World};
use crate::support::firm::set_roles;
use crate::support::statements::Statements;

const HEADER: &str = "email,first_name,last_name,subscription_type,roles,groups";

#[tokio::test]
async fn a_clean_file_is_imported_as_it_is() {
    let world = World::new(200).await;
    let import = world.start(&world.owner, MEMBERS, false).await;
    assert_eq!(world.work().await, Verdict::Settled);
    let read = world.read(import).await;
    assert_eq!((read.rows_total, read.rows_invited, read.rows_rejected), (Some(120), 120, 0));
    assert!(read.finished_at.is_some() && read.error_code.is_none());
    let rows = world.rows(import, None).await;
    assert!(rows.iter().zip(2..).all(|(row, no)| row.row_no == no && row.outcome == Outcome::Invited));
    let sql = "SELECT count(*) FROM member m JOIN invitation i USING (account_id, member_id) JOIN member_role r USING (account_id, member_id)
               JOIN license_allocation a USING (account_id, member_id)
               WHERE m.status = 'INVITED' AND i.state = 'NOT_SENT' AND a.reserved
                 AND r.role_id = (SELECT role_id FROM role WHERE system_key = 'STANDARD')";
    assert_eq!(world.count(sql).await, 120);
    assert_eq!(world.count("SELECT count(*) FROM outbox WHERE kind = 'mail.invitation'").await, 0);
    assert_eq!(world.seats().await, (121, 121));
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind LIKE 'import.%'").await, 2);
    assert_eq!(world.count("SELECT count(*) FROM event WHERE kind = 'invitation.created'").await, 120);
    assert_eq!(world.count("SELECT count(*) FROM outbox WHERE lane = 'BULK' AND finished_at IS NOT NULL").await, 1);
    world.end().await;
}

#[tokio::test]
async fn a_spreadsheets_file_is_imported_and_people_get_mail_if_asked() {
    let world = World::new(200).await;
    let import = world.start(&world.owner, include_bytes!("../fixtures/members-spreadsheet.csv"), true).await;
    assert_eq!(world.work().await, Verdict::Settled);
    let read = world.read(import).await;
    assert_eq!((Some(read.rows_invited), read.rows_rejected), (read.rows_total, 0));
    assert_eq!(world.count("SELECT count(*) FROM outbox WHERE kind = 'mail.invitation'").await, read.rows_invited);
    let sql = "SELECT count(*) FROM invitation WHERE state = 'PENDING' AND delivery = 'QUEUED'";
    assert_eq!(world.count(sql).await, read.rows_invited);
    world.end().await;
}

#[tokio::test]
async fn bad_rows_are_reported_and_good_ones_imported() {
    let world = World::new(200).await;
    let import = world.start(&world.owner, include_bytes!("../fixtures/members-faulty.csv"), false).await;
    assert_eq!(world.work().await, Verdict::Settled);
    let rejected = world.rejected(import).await;
    let expected = [
        (3, "INVALID_EMAIL"),
        (5, "REQUIRED"),
        (7, "REQUIRED"),
        (9, "INVALID_SUBSCRIPTION_TYPE"),
        (11, "INVALID_TIME_ZONE"),
        (13, "INVALID_COUNTRY"),
        (15, "INVALID_PHONE"),
        (17, "DUPLICATE_IN_FILE"),
        (19, "INVALID_INITIALS"),
        (21, "PERSONAL_DOMAIN"),
        (25, "TOO_LONG"),
        (27, "TOO_FEW_COLUMNS"),
        (29, "TOO_MANY_COLUMNS"),
    ];
    assert_eq!(rejected, expected.map(|(row, code)| (row, vec![code])));
    let read = world.read(import).await;
    assert_eq!((Some(read.rows_invited + 13), read.rows_rejected), (read.rows_total, 13));
    assert_eq!(world.count("SELECT count(*) FROM member WHERE status = 'INVITED'").await, read.rows_invited);
    let first = &world.rows(import, Some(Outcome::Rejected)).await[0];
    assert_eq!(first.faults[0].value.as_deref(), Some("not-an-address"));
    assert!(first.faults[0].sentence.ends_with('.') && first.member_id.is_none());
    world.end().await;
}

/// The statements of the batch of an import whose rows name these roles.
async fn statements_of(world: &World, listening: &Statements, domain: &str, roles: &str) -> Vec<String> {
    let mut file = format!("{HEADER}\n");
    for row in 0..30 {
        writeln!(file, "p{row}@{domain},Pat,Prior,Attorney,{roles},").unwrap();
    }
    let import = world.start(&world.owner, file.as_bytes(), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    assert_eq!(run.step().await.unwrap(), Step::Going, "the look through the file");
    listening.take();
    assert_eq!(run.step().instrument(tracing::info_span!("request")).await.unwrap(), Step::Going);
    let statements = listening.take();
    assert_eq!(run.step().await.unwrap(), Step::Ended);
    assert_eq!(world.read(import).await.rows_invited, 30);
    statements
}

#[tokio::test]
async fn a_role_costs_no_more_for_being_spelled_in_twenty_ways() {
    let world = World::new(200).await;
    let listening = Statements::listen();
    let spelled = |capitals: u32| -> String {
        let cased = |(place, c): (usize, char)| if capitals >> place & 1 == 1 { c.to_ascii_uppercase() } else { c };
        "auditor".chars().enumerate().map(cased).collect()
    };
    let one = statements_of(&world, &listening, "one.example", "auditor").await;
    let twenty = (0..20).map(spelled).collect::<Vec<_>>().join("|");
    let twenty = statements_of(&world, &listening, "twenty.example", &twenty).await;
    assert!(one.iter().any(|statement| statement.contains("role_permission")), "{one:#?}");
    assert_eq!(twenty.len(), one.len(), "{twenty:#?}");
    world.end().await;
}

#[tokio::test]
async fn people_who_are_there_already_are_left_alone_and_lapsed_invitations_replaced() {
    let world = World::new(200).await;
    let suspended = world.member("suspended@firm.example", SystemRole::Standard).await.member_id;
    world.ask(&world.owner, |c, a| member::suspend(c, a, suspended).boxed()).await.unwrap();
    world.invite(&world.owner, "lapsed@firm.example", SystemRole::Standard.id()).await.unwrap();
    // Its mail was never sent.
    world.db.clock.advance(jiff::SignedDuration::from_hours(73));
    let mut change = domain::change::Change::begin(
        &world.db,
        world.account(),
        domain::change::Kind::System,
        domain::actor::Origin::system(),
        None,
    )
    .await
    .unwrap();
    assert_eq!(domain::invitation::lapse_account(&mut change).await.unwrap(), 1);
    change.commit().await.unwrap();
    world.invite(&world.owner, "open@firm.example", SystemRole::Standard.id()).await.unwrap();

    let rows = ["owner", "open", "suspended", "lapsed"].map(|name| format!("{name}@firm.example,A,B,Attorney,,"));
    let import = world.start(&world.owner, format!("{HEADER}\n{}\n", rows.join("\n")).as_bytes(), false).await;
    assert_eq!(world.work().await, Verdict::Settled);
    let expected = [(2, "ALREADY_MEMBER"), (3, "ALREADY_INVITED"), (4, "NOT_IMPORTABLE")];
    assert_eq!(world.rejected(import).await, expected.map(|(row, code)| (row, vec![code])));
    let sql = "SELECT count(*) FROM invitation WHERE email = 'lapsed@firm.example' AND state = 'REVOKED' AND member_id IS NULL";
    assert_eq!(world.count(sql).await, 1);
    assert_eq!(world.seats().await, (4, 4));
    world.end().await;
}

#[tokio::test]
async fn roles_are_given_by_name_and_only_those_the_importer_holds() {
    let world = World::new(200).await;
    let manager = world.member("manager@firm.example", SystemRole::MemberManager).await;
    let cells =
        ["member MANAGER|standard,", "Administrator|Nobody,", ",Litigation|Tax", "Auditor,", "Billing manager,"];
    let rows: Vec<String> =
        cells.iter().enumerate().map(|(i, cells)| format!("m{i}@firm.example,A,B,Attorney,{cells}")).collect();
    let import = world.start(&manager, format!("{HEADER}\n{}\n", rows.join("\n")).as_bytes(), false).await;
    assert_eq!(world.work().await, Verdict::Settled);
    let rejected = world.rejected(import).await;
    assert_eq!(rejected[0], (3, vec!["ROLE_NOT_PERMITTED", "UNKNOWN_ROLE"]));
    assert_eq!(rejected[1], (4, vec!["UNKNOWN_GROUP", "UNKNOWN_GROUP"]));
    let sql =
        "SELECT count(*) FROM member JOIN member_role USING (account_id, member_id) WHERE email = 'm0@firm.example'";
    assert_eq!(world.count(sql).await, 2);
    assert_eq!(world.count("SELECT count(*) FROM member WHERE email = 'm1@firm.example'").await, 0);
    world.end().await;
}

#[tokio::test]
async fn a_file_that_is_no_use_as_a_whole_imports_nothing() {
    let world = World::new(200).await;
    let import = world.start(&world.owner, b"email,first_name\na@firm.example,A\n", false).await;
    assert_eq!(world.work().await, Verdict::Settled);
    let read = world.read(import).await;
    assert_eq!(read.error_code.as_deref(), Some("MISSING_COLUMN"));
    assert!(read.error_message.unwrap().contains("last_name, subscription_type"));
    assert_eq!(read.rows_total, None);
    assert_eq!(world.count("SELECT count(*) FROM member_import_row").await, 0);
    assert_eq!(world.seats().await, (1, 1));
    world.end().await;
}

#[tokio::test]
async fn an_importer_who_loses_the_right_in_the_middle_stops_the_import() {
    let world = World::new(2_000).await;
    let manager = world.member("manager@firm.example", SystemRole::MemberManager).await;
    let import = world.start(&manager, &people(2_000), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    for _ in 0..3 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    let (id, standard) = (manager.member_id, [SystemRole::Standard.id()]);
    world.ask(&world.owner, move |c, a| async move { set_roles(c, a, id, &standard).await }.boxed()).await.unwrap();
    assert_eq!(run.step().await.unwrap(), Step::Ended);
    let read = world.read(import).await;
    assert_eq!((read.error_code.as_deref(), read.rows_invited), (Some("NOT_PERMITTED"), 1_000));
    assert_eq!(world.seats().await, (1_002, 1_002));
    assert_eq!(run.step().await.unwrap(), Step::Nothing);
    world.end().await;
}

#[tokio::test]
async fn an_account_that_becomes_read_only_stops_the_import() {
    let world = World::new(2_000).await;
    let import = world.start(&world.owner, &people(1_000), false).await;
    let job = world.claim().await;
    let mut run = world.run_of(&job, import);
    for _ in 0..2 {
        assert_eq!(run.step().await.unwrap(), Step::Going);
    }
    sqlx::query("UPDATE account_feed SET writable = false").execute(&world.db.pool).await.unwrap();
    assert_eq!(run.step().await.unwrap(), Step::Ended);
    let read = world.read(import).await;
    assert_eq!((read.error_code.as_deref(), read.rows_invited), (Some("ACCOUNT_READ_ONLY"), 500));
    assert_eq!(world.seats().await, (501, 501));
    world.end().await;
}

#[tokio::test]
async fn a_file_that_is_gone_ends_the_import() {
    let world = World::new(200).await;
    let import = world.start(&world.owner, MEMBERS, false).await;
    world.files.delete(&world.stored().await[0]).await.unwrap();
    assert_eq!(world.work().await, Verdict::Settled);
    assert_eq!(world.read(import).await.error_code.as_deref(), Some("FILE_LOST"));
    world.end().await;
}

/// A file of so many people.
pub(super) fn people(count: usize) -> Vec<u8> {
    let rows: Vec<String> = (0..count).map(|i| format!("p{i:05}@firm.example,A,B,Attorney,,\n")).collect();
    format!("{HEADER}\n{}", rows.concat()).into_bytes()
}
