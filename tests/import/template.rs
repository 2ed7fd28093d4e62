//! The template, filled in as a spreadsheet program saves it.

use domain::import::{Options, template};

use super::world::World;

/// Such programs leave empty cells at the end of rows out, but for a few rows at the beginning.
#[tokio::test]
async fn people_are_typed_below_the_template() {
    let world = World::new(50).await;
    let mut conn = world.db.pool.acquire().await.unwrap();
    let columns = template::columns(&mut conn, world.account()).await.unwrap();
    drop(conn);
    let file = String::from_utf8(template::csv(&columns)).unwrap();
    let mut lines: Vec<String> = file.trim_end().split("\r\n").map(str::to_owned).collect();
    let cells = lines[0].split(',').count();
    assert!(cells > columns.len(), "the lists of permitted names are columns as well");
    for n in 1..=40 {
        let person = format!("p{n}@firm.example,Ann,Lee {n},,,,,,,,,Attorney");
        let empty = if n < 16 { ",".repeat(cells - 12) } else { String::new() };
        lines.push(format!("{person}{empty}"));
    }
    let import = world.import(lines.join("\r\n").as_bytes(), Options::default()).await;
    assert_eq!(world.rejected(import).await, []);
    assert_eq!(world.read(import).await.rows_invited, 41, "with the example");
    world.end().await;
}
