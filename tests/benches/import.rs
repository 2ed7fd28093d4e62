//! Prints what an import costs: rows a second and memory beside a plain `COPY` of the same rows into the same tables with the same
//! indexes, how long other invitations of the account wait meanwhile, the time of a dry run, and mails a second. Needs `DATABASE_URL`
//! of a server. The number of rows can be given as an argument, and `speed` to see no more than rows a second.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "what fails ends it")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod support;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use domain::actor::Actor;
use domain::id::{AccountId, ImportId, RoleId};
use domain::import::{self, MemberImport, Options};
use domain::infra::config::{Config, MailTransport};
use domain::infra::db::Db;
use domain::infra::files::{self, Files};
use domain::invitation::{self, ErrorPolicy, Invite};
use domain::member::{Place, Validity};
use domain::permission::SystemRole;
use domain::{change, upload};
use futures::{FutureExt as _, TryStreamExt as _};
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;
use worker::{Parts, Worker};

use self::support::database::Database;
use self::support::firm;

const ROWS: usize = 100_000;
const OWNER: &str = "olivia@harborandfinch.example";
/// People who are mailed.
const MAILED: u32 = 2_000;
/// Between two invitations of somebody else.
const PAUSE: Duration = Duration::from_millis(50);
/// Tables that an import fills.
const TABLES: [&str; 8] = [
    "member",
    "member_activity",
    "member_role",
    "license_allocation",
    "invitation",
    "event",
    "event_personal",
    "member_import_row",
];
/// Tables they refer to.
const REFERRED: [&str; 4] = ["account", "role", "license_pool", "member_import"];
/// Firms of one person each that were there before. By the statistics of then, nothing looks as if an account had many rows.
const OTHERS: usize = 20;

/// An installation with an account to import into, and a worker in this process.
struct Stage {
    database: Database,
    files: Files,
    folder: PathBuf,
    owner: Actor,
    stop: CancellationToken,
    worker: Option<Worker>,
}

impl Stage {
    async fn new(owner: &str, statistics: bool) -> Result<Self> {
        let database = Database::new().await;
        let folder = std::env::temp_dir().join(format!("muster_bench_{}", uuid::Uuid::new_v4().simple()));
        let mut config = Config::defaults(database.url());
        config.data_dir.clone_from(&folder);
        config.mail.transport = MailTransport::Outbox;
        for other in 0..OTHERS {
            firm::found(&database.db, &format!("owner@firm{other}.example")).await;
        }
        let owner = firm::found(&database.db, owner).await;
        sqlx::query("UPDATE license_pool SET granted = 1000000").execute(&database.db.pool).await?;
        if statistics {
            sqlx::raw_sql("VACUUM ANALYZE").execute(&mut superuser(&database).await?).await?;
        }
        let files = files::open(&config)?;
        let stop = CancellationToken::new();
        let db = database.db.with_own_connections(8);
        let registry = worker::job::registry(&db, &config, &files, &stop)?;
        let (clock, waker) = (db.clock.clone(), db.waker.clone());
        let parts = Parts { pool: db.pool.clone(), clock, registry, sweeps: Vec::new(), waker };
        let worker = Some(Worker::start(parts, &config, &stop)?);
        Ok(Self { database, files, folder, owner, stop, worker })
    }

    fn db(&self) -> &Db {
        &self.database.db
    }

    async fn end(mut self) -> Result<()> {
        self.stop.cancel();
        if let Some(worker) = self.worker.take() {
            worker.stopped().await?;
        }
        std::fs::remove_dir_all(&self.folder)?;
        self.database.remove().await;
        Ok(())
    }

    async fn ask<T, F>(&self, rule: F) -> domain::error::Result<T>
    where
        T: serde::Serialize + serde::de::DeserializeOwned + Send,
        F: for<'c> Fn(&'c mut change::Change, &'c Actor) -> futures::future::BoxFuture<'c, domain::error::Result<T>>
            + Sync,
    {
        let actor = Actor { now: self.db().now().await?, ..self.owner.clone() };
        change::run(self.db(), &actor, change::Kind::Asked, None, rule).await.map(|done| done.outcome)
    }

    /// Imports a file and waits for its end; answers the import and how long it took from its start.
    async fn import(&self, file: &[u8], options: Options) -> Result<(MemberImport, f64)> {
        let id = self.ask(|change, actor| upload::create(change, actor, "members.csv").boxed()).await?;
        let token = upload::token(self.db(), AccountId(self.owner.account_id.0), id).expose();
        let chunks: Vec<Result<_, std::io::Error>> = file.chunks(65_536).map(|c| Ok(c.to_vec().into())).collect();
        let body = futures::stream::iter(chunks);
        let place = upload::find(self.db(), &token).await?.ok_or_else(|| anyhow::anyhow!("the upload is gone"))?;
        upload::store(self.db(), &self.files, &place, None, body, 1 << 30, None).await?;
        let began = Instant::now();
        let import = self
            .ask(move |change, actor| {
                let options = options.clone();
                async move { import::create(change, actor, id, &options).await }.boxed()
            })
            .await?;
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let read = self.read(import).await?;
            if read.finished_at.is_some() {
                return Ok((read, began.elapsed().as_secs_f64()));
            }
        }
    }

    async fn read(&self, id: ImportId) -> Result<MemberImport> {
        let mut conn = self.db().pool.acquire().await?;
        Ok(import::read_many(&mut conn, &self.owner, &[id]).await?.pop().unwrap())
    }

    /// Invites people one after the other until it is over; answers how long each took, and how many failed.
    async fn invite_meanwhile(&self, kind: &str, over: &AtomicBool) -> (Vec<Duration>, usize) {
        let (mut waits, mut failed) = (Vec::new(), 0);
        for number in 0.. {
            if over.load(Ordering::SeqCst) {
                break;
            }
            let began = Instant::now();
            match self.invite(&format!("{kind}{number}@meanwhile.example"), SystemRole::Standard.id()).await {
                Ok(()) => waits.push(began.elapsed()),
                Err(_) => failed += 1,
            }
            tokio::time::sleep(PAUSE).await;
        }
        waits.sort_unstable();
        (waits, failed)
    }

    async fn invite(&self, email: &str, role: RoleId) -> domain::error::Result<()> {
        let email = email.to_owned();
        self.ask(move |change, actor| {
            let invite = Invite {
                email: email.clone(),
                first_name: None,
                last_name: None,
                message: None,
                subscription_type: None,
                place: Place::with_roles([role]),
                validity: Validity::default(),
                wishes: Vec::new(),
            };
            async move {
                invitation::invite(change, actor, &[invite], false, ErrorPolicy::AllOrNothing).await.map(|_| ())
            }
            .boxed()
        })
        .await
    }
}

/// A file of so many people, with all columns of the template filled.
fn people(count: usize) -> Vec<u8> {
    let mut file = String::from(
        "email,first_name,last_name,initials,time_zone,address,city,state,zip,country,phone,subscription_type\n",
    );
    for n in 0..count {
        writeln!(
            file,
            "member{n:07}@corp{}.example,Ana,Brandt,AB,Europe/Berlin,{n} Court Street,Berlin,,10115,DE,+49 30 90182 {:04},Attorney",
            n % 97,
            n % 10_000
        )
        .unwrap();
    }
    file.into_bytes()
}

/// The most memory of this process since the last time this was asked, and what it has now; in megabytes.
fn peak() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let seen = (of("VmHWM"), of("VmRSS"));
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    seen
}

fn told(waits: &[Duration]) -> String {
    let at = |share: usize| waits.get((waits.len() * share / 100).min(waits.len().saturating_sub(1)));
    let ms = |wait: Option<&Duration>| wait.map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
    format!(
        "{} sent, p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        waits.len(),
        ms(at(50)),
        ms(at(99)),
        ms(waits.last())
    )
}

#[tokio::main]
async fn main() -> Result<()> {
    println!("load average: {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    println!("{}", if cfg!(debug_assertions) { "a debug build" } else { "a release build" });
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let rows = words.iter().find_map(|word| word.parse().ok()).unwrap_or(ROWS);
    let only_speed = words.iter().any(|word| word == "speed");
    if !only_speed {
        memory(rows).await?;
    }
    let alone = beside_copy(rows).await?;
    if only_speed {
        return Ok(());
    }
    meanwhile(rows, "as they are read", Options::default(), alone).await?;
    let whole = Options { error_policy: ErrorPolicy::AllOrNothing, ..Options::default() };
    meanwhile(rows, "all or nothing", whole, alone).await?;
    mails().await
}

/// From a small file to the whole one.
async fn memory(rows: usize) -> Result<()> {
    for (name, policy) in [("as they are read", ErrorPolicy::Partial), ("all or nothing", ErrorPolicy::AllOrNothing)] {
        for count in [1_000, 10_000, rows] {
            let stage = Stage::new(OWNER, true).await?;
            let file = people(count);
            peak();
            let before = peak().1;
            let options = Options { error_policy: policy, ..Options::default() };
            let (import, _) = stage.import(&file, options).await?;
            assert_eq!(usize::try_from(import.rows_invited)?, count);
            println!("memory, {count} rows, {name}: {} MB at most, {before} MB before", peak().0);
            stage.end().await?;
        }
    }
    Ok(())
}

/// Rows a second alone, and by `COPY`.
async fn beside_copy(rows: usize) -> Result<f64> {
    let stage = Stage::new(OWNER, true).await?;
    let file = people(rows);
    let (dry, seconds) = stage.import(&file, Options { dry_run: true, ..Options::default() }).await?;
    println!("dry run: {seconds:.1} s, {:.0} rows/s", f64::from(dry.rows_invited) / seconds);
    // What a COPY would not write again.
    sqlx::query("DELETE FROM member_import_row").execute(&stage.db().pool).await?;
    let (import, seconds) = stage.import(&file, Options::default()).await?;
    let alone = f64::from(import.rows_invited) / seconds;
    println!("import: {seconds:.1} s, {alone:.0} rows/s");
    let copied = copy(&stage).await?;
    let (again, seconds) = stage.import(&file, Options { update_existing: true, ..Options::default() }).await?;
    println!("again, all unchanged: {seconds:.1} s, {:.0} rows/s", f64::from(again.rows_unchanged) / seconds);
    let by_copy = f64::from(import.rows_invited) / copied;
    println!(
        "COPY of the same rows: {copied:.1} s, {by_copy:.0} rows/s; the import does {:.0} % of it",
        alone / by_copy * 100.0
    );
    stage.end().await?;
    Ok(alone)
}

/// A connection that no limit of the service binds.
async fn superuser(database: &Database) -> Result<PgConnection> {
    use secrecy::ExposeSecret as _;
    let mut conn = PgConnection::connect(database.url().expose_secret()).await?;
    sqlx::raw_sql("SET statement_timeout = 0").execute(&mut conn).await?;
    Ok(conn)
}

/// Copies what the import wrote into an installation like the one in which it began; answers the seconds of that. There are no
/// statistics there: by those of the import's, `COPY` checks 250 foreign keys a second.
async fn copy(stage: &Stage) -> Result<f64> {
    let mut source = superuser(&stage.database).await?;
    let other = Stage::new("oscar@harborandfinch.example", false).await?;
    let mut target = superuser(&other.database).await?;
    sqlx::raw_sql("SET session_replication_role = replica").execute(&mut target).await?;
    for table in REFERRED {
        let (columns, bytes) = copied(&mut source, table, stage.owner.account_id).await?;
        paste(&mut target, table, &columns, &bytes).await?;
    }
    let user = copied_where(&mut source, "app_user", &format!("user_id = '{}'", stage.owner.user_id.0)).await?;
    paste(&mut target, "app_user", &user.0, &user.1).await?;
    let mut kept = Vec::new();
    for table in TABLES {
        kept.push((table, copied(&mut source, table, stage.owner.account_id).await?));
    }
    // Foreign keys are checked, as for the import.
    sqlx::raw_sql("SET session_replication_role = origin").execute(&mut target).await?;
    let began = Instant::now();
    let mut transaction = target.begin().await?;
    for (table, (columns, bytes)) in &kept {
        paste(&mut transaction, table, columns, bytes).await?;
    }
    transaction.commit().await?;
    let seconds = began.elapsed().as_secs_f64();
    target.close().await?;
    other.end().await?;
    Ok(seconds)
}

async fn copied(conn: &mut PgConnection, table: &str, account: AccountId) -> Result<(String, Vec<u8>)> {
    copied_where(conn, table, &format!("account_id = '{}'", account.0)).await
}

/// The columns of a table, and some of its rows as `COPY` writes them.
async fn copied_where(conn: &mut PgConnection, table: &str, condition: &str) -> Result<(String, Vec<u8>)> {
    let columns: String = sqlx::query_scalar(
        "SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'",
    )
    .bind(table)
    .fetch_one(&mut *conn)
    .await?;
    let statement = format!("COPY (SELECT {columns} FROM {table} WHERE {condition}) TO STDOUT");
    let mut stream = conn.copy_out_raw(&statement).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    drop(stream);
    Ok((columns, bytes))
}

async fn paste(conn: &mut PgConnection, table: &str, columns: &str, bytes: &[u8]) -> Result<()> {
    let mut sink = conn.copy_in_raw(&format!("COPY {table} ({columns}) FROM STDIN")).await?;
    for chunk in bytes.chunks(1 << 20) {
        sink.send(chunk).await?;
    }
    sink.finish().await?;
    Ok(())
}

/// While somebody else invites, one after the other.
async fn meanwhile(rows: usize, name: &str, options: Options, alone: f64) -> Result<()> {
    let stage = Stage::new(OWNER, true).await?;
    let file = people(rows);
    let over = AtomicBool::new(false);
    let import = async {
        let done = stage.import(&file, options).await;
        over.store(true, Ordering::SeqCst);
        done
    };
    let (imported, (waits, failed)) = tokio::join!(import, stage.invite_meanwhile("m", &over));
    let (import, seconds) = imported?;
    assert_eq!(usize::try_from(import.rows_invited)?, rows);
    let rate = f64::from(import.rows_invited) / seconds;
    println!("{name}, others inviting: {seconds:.1} s, {rate:.0} rows/s ({:.0} % of alone)", rate / alone * 100.0);
    println!("{name}, invitations meanwhile: {}; {failed} failed", told(&waits));
    stage.end().await
}

/// With welcome mails, into files.
async fn mails() -> Result<()> {
    let stage = Stage::new(OWNER, true).await?;
    let file = people(usize::try_from(MAILED)?);
    let began = Instant::now();
    stage.import(&file, Options { send_welcome_email: true, ..Options::default() }).await?;
    let due = "SELECT count(*) FROM outbox WHERE kind = 'mail.invitation' AND finished_at IS NULL";
    while sqlx::query_scalar::<_, i64>(due).fetch_one(&stage.db().pool).await? > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("welcome mails: {MAILED} in {seconds:.1} s, {:.0}/s", f64::from(MAILED) / seconds);
    stage.end().await
}
