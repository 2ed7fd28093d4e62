//! Columns of a file that nobody imports are told to whoever uploaded it.

use domain::job::Verdict;
use domain::upload;

use super::world::World;

#[tokio::test]
async fn ignored_columns_are_told_and_go_with_the_upload() {
    let world = World::new(10).await;
    let long = "n".repeat(300);
    let file = format!(
        "Favourite colour,email,first_name,,last_name,subscription_type,error_code,{long}\nred,a@firm.example,A,,B,Attorney,,\n"
    );
    let import = world.start(&world.owner, file.as_bytes(), false).await;
    assert_eq!(world.read(import).await.ignored_columns, [""; 0], "the worker has not looked yet");
    assert_eq!(world.work().await, Verdict::Settled);
    let read = world.read(import).await;
    assert_eq!(read.ignored_columns, ["Favourite colour", &long[..200]], "not those of a report, nor unnamed ones");
    assert_eq!(read.rows_invited, 1);

    let later = world.db.now().await.unwrap() + upload::FILE_LIFETIME;
    upload::purge_expired(&world.db, &world.files, later).await.unwrap();
    assert_eq!(world.read(import).await.ignored_columns, [""; 0]);
    world.end().await;
}
