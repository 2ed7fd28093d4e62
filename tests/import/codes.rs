//! Codes of rows and of whole files that need a file or an account of their own.

use domain::account::{self, PolicyUpdate};
use domain::job::Verdict;
use futures::FutureExt as _;

use super::world::World;

const HEADER: &str = "email,first_name,last_name,subscription_type,roles";

/// Imports a file and answers the codes of its rejected rows.
async fn rejected(world: &World, file: &[u8]) -> Vec<(i32, Vec<&'static str>)> {
    let import = world.start(&world.owner, file, false).await;
    assert_eq!(world.work().await, Verdict::Settled);
    world.rejected(import).await
}

/// Imports a file that is no use as a whole; answers why.
async fn failed(world: &World, file: &[u8]) -> String {
    let import = world.start(&world.owner, file, false).await;
    assert_eq!(world.work().await, Verdict::Settled);
    let read = world.read(import).await;
    assert_eq!((read.rows_invited, read.rows_rejected), (0, 0));
    assert!(read.error_message.unwrap().ends_with('.'));
    read.error_code.unwrap()
}

#[tokio::test]
async fn text_that_nobody_can_mean_is_rejected_with_its_row() {
    let world = World::new(10).await;
    let rows: [&[u8]; 4] = [
        b"a@firm.example,A\x07,B,Attorney,\n",
        b"b@firm.example,M\xfcller,B,Attorney,\n",
        "c@firm.example,Zoë,Çelik,Attorney,\n".as_bytes(),
        b"d@firm.example,\"D,D,Attorney,\n",
    ];
    let file = [format!("{HEADER}\n").as_bytes(), &rows.concat()].concat();
    let expected = [(2, "INVALID_CHARACTERS"), (3, "INVALID_ENCODING"), (5, "MALFORMED_ROW")];
    assert_eq!(rejected(&world, &file).await, expected.map(|(row, code)| (row, vec![code])));
    world.end().await;
}

#[tokio::test]
async fn only_addresses_at_the_accounts_domains_are_imported() {
    let world = World::new(10).await;
    let update = || PolicyUpdate { allowed_domains: Some(vec!["firm.example".to_owned()]), ..PolicyUpdate::default() };
    world
        .ask(&world.owner, move |change, actor| account::update_policy(change, actor, update()).boxed())
        .await
        .unwrap();
    let file = format!("{HEADER}\na@firm.example,A,B,Attorney,\nb@elsewhere.example,A,B,Attorney,\n");
    assert_eq!(rejected(&world, file.as_bytes()).await, [(3, vec!["DOMAIN_NOT_ALLOWED"])]);
    world.end().await;
}

#[tokio::test]
async fn a_row_names_at_most_twenty_roles_and_a_thousand_groups() {
    let world = World::new(10).await;
    let made = "INSERT INTO role (account_id, role_id, name, created_at)
                SELECT $1, gen_random_uuid(), 'Role ' || n, now() FROM generate_series(1, 21) n";
    sqlx::query(made).bind(world.account().0).execute(&world.db.pool).await.unwrap();
    let names = |count: usize| (1..=count).map(|n| format!("Role {n}")).collect::<Vec<_>>().join("|");
    let file =
        format!("{HEADER}\na@firm.example,A,B,Attorney,{}\nb@firm.example,A,B,Attorney,{}\n", names(20), names(21));
    assert_eq!(rejected(&world, file.as_bytes()).await, [(3, vec!["TOO_MANY_ROLES"])]);
    let groups = (1..=1_001).map(|n| format!("Group {n}")).collect::<Vec<_>>().join("|");
    let file = format!("{}\nc@firm.example,A,B,Attorney,{groups}\n", HEADER.replace("roles", "groups"));
    assert_eq!(rejected(&world, file.as_bytes()).await, [(2, vec!["TOO_MANY_GROUPS"])]);
    world.end().await;
}

#[tokio::test]
async fn a_file_whose_first_row_is_no_header_or_that_has_too_many_rows_is_refused() {
    let mut world = World::new(10).await;
    world.config.limits.import_rows = 2;
    let row = "a@firm.example,A,B,Attorney,\n";
    assert_eq!(failed(&world, format!("\"{HEADER}\n{row}").as_bytes()).await, "MALFORMED_HEADER");
    assert_eq!(failed(&world, format!("{HEADER}\n{row}{row}{row}").as_bytes()).await, "TOO_MANY_ROWS");
    world.end().await;
}
