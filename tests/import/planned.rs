//! Dry runs: they say what would happen, and change nothing.

use std::fmt::Write as _;

use domain::import::{Options, Outcome};
use domain::infra::db::Db;
use domain::permission::SystemRole;
use sqlx::AssertSqlSafe;

use super::rows::people;
use super::world::World;

const HEADER: &str = "email,first_name,last_name,city,subscription_type";
const DRY: fn() -> Options = || Options { dry_run: true, ..Options::default() };

/// A digest of everything in the tables that hold what an import may change.
async fn state(db: &Db) -> String {
    let mut all = String::new();
    for table in
        ["member", "invitation", "member_role", "group_member", "license_pool", "license_allocation", "event_personal"]
    {
        let sql = format!("SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t");
        let digest: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&db.pool).await.unwrap();
        writeln!(all, "{table} {digest}").unwrap();
    }
    all
}

/// Outcome and changed columns of each row.
async fn outcomes(world: &World, import: domain::id::ImportId) -> Vec<(i32, Outcome, Vec<String>)> {
    let rows = world.rows(import, None).await;
    rows.into_iter().map(|row| (row.row_no, row.outcome, row.changes)).collect()
}

#[tokio::test]
async fn a_dry_run_says_what_would_become_of_each_row_and_changes_nothing() {
    let world = World::new(10).await;
    let import = |file: String, options| {
        let world = &world;
        async move { world.import(file.as_bytes(), options).await }
    };
    import(
        format!("{HEADER}\nann@firm.example,Ann,Lee,Leeds,Attorney\nbob@firm.example,Bob,Ray,Bath,Attorney\n"),
        Options::default(),
    )
    .await;
    let file = format!(
        "{HEADER}\nann@firm.example,Ann,Lee,Leeds,attorney\nbob@firm.example,Bob,Roe,,Attorney\n\
         eve@firm.example,Eve,Ek,,Attorney\nnobody,Eve,Ek,,Attorney\n"
    );
    let before = state(&world.db).await;
    let dry = import(file.clone(), Options { update_existing: true, ..DRY() }).await;
    assert_eq!(state(&world.db).await, before);
    let changed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let planned = [
        (2, Outcome::Unchanged, vec![]),
        (3, Outcome::Updated, changed(&["last_name", "city"])),
        (4, Outcome::Invited, vec![]),
        (5, Outcome::Rejected, vec![]),
    ];
    assert_eq!(outcomes(&world, dry).await, planned);
    let told = world.read(dry).await;
    assert!(told.dry_run && !told.applied);
    assert_eq!(world.seats().await, (3, 3));

    let real = import(file, Options { update_existing: true, ..Options::default() }).await;
    assert_eq!(outcomes(&world, real).await, planned, "the import does what was said");
    assert_ne!(state(&world.db).await, before);
    world.end().await;
}

#[tokio::test]
async fn a_dry_run_says_whether_seats_suffice() {
    let world = World::new(6).await;
    let dry = world.import(&people(8), DRY()).await;
    let read = world.read(dry).await;
    let seats = read.seats().unwrap();
    assert_eq!((seats.required, seats.available, seats.missing), (8, 5, 3));
    assert_eq!((read.rows_invited, read.rows_rejected), (5, 3));
    let rejected = world.rows(dry, Some(Outcome::Rejected)).await;
    assert_eq!(rejected[0].row_no, 7, "seats go to the first rows");
    let sentence = &rejected[0].faults[0].sentence;
    assert!(sentence.contains("3 licences are missing"), "{sentence}");
    // Where the file would be refused as a whole, no row is.
    let whole = Options { error_policy: domain::invitation::ErrorPolicy::AllOrNothing, ..DRY() };
    let read = world.read(world.import(&people(8), whole).await).await;
    assert_eq!((read.rows_invited, read.rows_rejected, read.seats().unwrap().missing), (8, 0, 3));
    assert_eq!(world.seats().await, (1, 1));
    world.end().await;
}

#[tokio::test]
async fn an_upload_can_be_looked_at_and_then_imported_once() {
    let world = World::new(10).await;
    let upload = world.create_upload(&world.owner).await;
    world.put(upload, &people(3)).await.unwrap();
    for _ in 0..2 {
        let dry = world.start_of(&world.owner, upload, DRY()).await.unwrap();
        world.work_of(dry).await;
        assert_eq!(world.read(dry).await.rows_invited, 3);
    }
    let real = world.start_of(&world.owner, upload, Options::default()).await.unwrap();
    world.work_of(real).await;
    assert_eq!(world.seats().await, (4, 4));
    for options in [DRY(), Options::default()] {
        let Err(domain::error::Error::Refused(list)) = world.start_of(&world.owner, upload, options).await else {
            panic!()
        };
        assert_eq!(list[0].code, domain::error::Code::UploadUsed);
    }
    let later = world.db.now().await.unwrap() + domain::upload::FILE_LIFETIME;
    assert_eq!(domain::upload::purge_expired(&world.db, &world.files, later).await.unwrap(), 1);
    world.end().await;
}

/// An invitation that is overdue counts as lapsed, and its seat as free, although no sweep has found it.
#[tokio::test]
async fn a_dry_run_lapses_nothing() {
    let world = World::new(2).await;
    world.invite(&world.owner, "p00000@firm.example", SystemRole::Standard.id()).await.unwrap();
    world.db.clock.advance(jiff::SignedDuration::from_hours(73));
    let before = state(&world.db).await;
    let read = world.read(world.import(&people(1), DRY()).await).await;
    assert_eq!((read.rows_invited, read.seats().unwrap().missing), (1, 0));
    assert_eq!(state(&world.db).await, before);
    world.end().await;
}
