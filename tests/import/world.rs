//! A database, a folder of files and an account of their own for a test, and the hands of a worker.

use std::path::PathBuf;
use std::sync::Arc;

use domain::actor::{Actor, Origin};
use domain::change::{self, Kind};
use domain::id::{AccountId, ImportId, InvitationId, MemberId, RoleId, SignUpId, UploadId};
use domain::import::file::FileLimits;
use domain::import::{self, MemberImport, Options, Outcome, RowFilter, RowOutcome, Run};
use domain::infra::clock::Clock;
use domain::infra::config::{self, Config};
use domain::infra::db::Db;
use domain::infra::files::{self, Files};
use domain::infra::migrate;
use domain::infra::page::{Arguments, Request};
use domain::infra::secret::{Purpose, TokenKey};
use domain::infra::wake::Waker;
use domain::invitation::{self, Acceptance, ErrorPolicy, Invite, Invited};
use domain::job::{Claimed, Lane};
use domain::member::Place;
use domain::password::Passwords;
use domain::permission::{self, SystemRole};
use domain::session::{self, Client, SignIn};
use domain::sign_up::{self, SignUp};
use domain::{outbox, upload};
use futures::FutureExt as _;
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::Registry;

pub(super) const MEMBERS: &[u8] = include_bytes!("../fixtures/members.csv");

pub(super) struct World {
    server: String,
    name: String,
    dir: PathBuf,
    pub(super) config: Config,
    pub(super) db: Db,
    pub(super) files: Files,
    passwords: Passwords,
    pub(super) owner: Actor,
}

impl World {
    /// An account that is granted `seats`, of which its owner has one.
    pub(super) async fn new(seats: i32) -> Self {
        let server = std::env::var("DATABASE_URL").expect("DATABASE_URL is set by ./dev test");
        let name = format!("muster_test_{}", Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(&server).await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (base, _) = server.rsplit_once('/').unwrap();
        let dir = std::env::temp_dir().join(&name);
        let mut config = Config::defaults(format!("{base}/{name}"));
        config.data_dir.clone_from(&dir);
        let mut schema = migrate::connect(&config).await.unwrap();
        migrate::apply(&mut schema).await.unwrap();
        permission::write_catalogue(&mut schema).await.unwrap();
        let pool = crate::support::database::open(&config.database_url).await.unwrap();
        let db = Db::new(pool, Clock::movable(), Waker::local(), Arc::new(TokenKey::new(1, [7; 32])));
        let files = files::open(&config).unwrap();
        let passwords = Passwords::new(config::Password { memory_kib: 8, passes: 1, concurrency: 2 });
        let owner = found(&db, &passwords, seats).await;
        Self { server, name, dir, config, db, files, passwords, owner }
    }

    pub(super) async fn end(self) {
        self.db.pool.close().await;
        std::fs::remove_dir_all(&self.dir).unwrap();
        let mut admin = PgConnection::connect(&self.server).await.unwrap();
        let name = &self.name;
        admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
    }

    pub(super) fn account(&self) -> AccountId {
        self.owner.account_id
    }

    pub(super) async fn ask<T, F>(&self, actor: &Actor, rule: F) -> domain::error::Result<T>
    where
        T: serde::Serialize + serde::de::DeserializeOwned + Send,
        F: for<'c> Fn(&'c mut change::Change, &'c Actor) -> futures::future::BoxFuture<'c, domain::error::Result<T>>
            + Sync,
    {
        let actor = Actor { now: self.db.now().await.unwrap(), ..actor.clone() };
        change::run(&self.db, &actor, Kind::Asked, None, rule).await.map(|done| done.outcome)
    }

    pub(super) async fn invite(&self, actor: &Actor, email: &str, role: RoleId) -> domain::error::Result<Invited> {
        let invite = Invite {
            wishes: Vec::new(),
            email: email.to_owned(),
            first_name: None,
            last_name: None,
            message: None,
            subscription_type: None,
            place: Place::with_roles([role]),
            validity: domain::member::Validity::default(),
        };
        self.ask(actor, move |change, actor| {
            let invite = invite.clone();
            async move { invitation::invite(change, actor, &[invite], true, ErrorPolicy::AllOrNothing).await }.boxed()
        })
        .await
    }

    /// A further active member, signed in.
    pub(super) async fn member(&self, email: &str, role: SystemRole) -> Actor {
        self.member_with(email, role.id()).await
    }

    pub(super) async fn member_with(&self, email: &str, role: RoleId) -> Actor {
        let invited = self.invite(&self.owner, email, role).await.unwrap();
        self.accept(invited.invitations[0]).await;
        sign_in(&self.db, &self.passwords, email).await
    }

    pub(super) async fn accept(&self, id: InvitationId) -> MemberId {
        let token = self.db.key.derive(Purpose::Invitation, Some(self.account()), id.0, 1).expose();
        let acceptance = Acceptance {
            first_name: Some("A".to_owned()),
            last_name: Some("B".to_owned()),
            password: Some(password()),
        };
        let accepted =
            invitation::accept(&self.db, &self.passwords, Origin::system(), None, &token, &acceptance).await.unwrap();
        accepted.member_id
    }

    pub(super) async fn create_upload(&self, actor: &Actor) -> UploadId {
        self.ask(actor, |change, actor| upload::create(change, actor, "members.csv").boxed()).await.unwrap()
    }

    pub(super) fn upload_token(&self, id: UploadId) -> String {
        upload::token(&self.db, self.account(), id).expose()
    }

    pub(super) async fn put(&self, id: UploadId, bytes: &[u8]) -> Result<(), upload::StoreFault> {
        self.put_in_pieces(id, bytes, 10_000).await
    }

    pub(super) async fn put_in_pieces(
        &self,
        id: UploadId,
        bytes: &[u8],
        size: usize,
    ) -> Result<(), upload::StoreFault> {
        let chunks: Vec<Result<_, std::io::Error>> = bytes.chunks(size).map(|c| Ok(c.to_vec().into())).collect();
        let body = futures::stream::iter(chunks);
        let place = upload::find(&self.db, &self.upload_token(id)).await?.ok_or(upload::StoreFault::Gone)?;
        upload::store(&self.db, &self.files, &place, None, body, 10_000_000, None).await
    }

    pub(super) async fn start_of(
        &self,
        actor: &Actor,
        upload: UploadId,
        options: Options,
    ) -> domain::error::Result<ImportId> {
        self.ask(actor, move |change, actor| {
            let options = options.clone();
            async move { import::create(change, actor, upload, &options).await }.boxed()
        })
        .await
    }

    /// Uploads a file and starts an import of it.
    pub(super) async fn start(&self, actor: &Actor, bytes: &[u8], send: bool) -> ImportId {
        self.start_with(actor, bytes, Options { send_welcome_email: send, ..Options::default() }).await
    }

    /// Uploads a file and starts an import of it, done as wanted.
    pub(super) async fn start_with(&self, actor: &Actor, bytes: &[u8], options: Options) -> ImportId {
        let upload = self.create_upload(actor).await;
        self.put(upload, bytes).await.unwrap();
        self.start_of(actor, upload, options).await.unwrap()
    }

    /// Starts an import of a file and works it to its end.
    pub(super) async fn import(&self, bytes: &[u8], options: Options) -> ImportId {
        let import = self.start_with(&self.owner, bytes, options).await;
        assert_eq!(self.work().await, domain::job::Verdict::Settled);
        import
    }

    /// Takes the job of the one import that is due, as soon as nobody has its row under lock: the relay passes it over until a
    /// killed worker's transaction is rolled back.
    pub(super) async fn claim(&self) -> Claimed {
        let mut conn = self.db.pool.acquire().await.unwrap();
        loop {
            let hints = outbox::hint(&mut conn, Lane::Bulk, outbox::Pick::up_to(10), Uuid::nil()).await.unwrap();
            let ids: Vec<Uuid> = hints.iter().map(|hint| hint.job_id).collect();
            let mut jobs = outbox::claim(&mut conn, &ids, Uuid::new_v4()).await.unwrap();
            assert!(jobs.len() < 2);
            if let Some(job) = jobs.pop() {
                return job;
            }
            outbox::unhint(&mut conn, &ids).await.unwrap();
            tokio::task::yield_now().await;
        }
    }

    /// What 20 seconds without a renewal do; false if the job has ended.
    pub(super) async fn lapse_lease(&self, job: &Claimed) -> bool {
        let sql = "UPDATE outbox SET wake_at = now() WHERE job_id = $1 AND wake_at IS NOT NULL";
        loop {
            // What a killed worker had begun is rolled back when its statement has ended.
            match sqlx::query(sql).bind(job.job_id).execute(&self.db.pool).await {
                Ok(lapsed) => return lapsed.rows_affected() == 1,
                Err(error) => {
                    let waited = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
                    assert_eq!(waited.as_deref(), Some("55P03"), "{error}");
                }
            }
        }
    }

    pub(super) fn run_of(&self, job: &Claimed, import: ImportId) -> Run {
        Run::new(self.db.clone(), self.files.clone(), FileLimits::from(&self.config.limits), job, import)
    }

    pub(super) fn registry(&self) -> Registry {
        let (db, files) = (self.db.clone(), self.files.clone());
        worker::job::import::register(Registry::default(), db, files, &self.config.limits, CancellationToken::new())
    }

    /// Claims the job and runs its handler to the end.
    pub(super) async fn work(&self) -> domain::job::Verdict {
        let job = self.claim().await;
        let (_, handler) = self.registry().find(&job.kind).unwrap();
        handler.run(job).await
    }

    /// Runs one import of several.
    pub(super) async fn work_of(&self, id: ImportId) {
        let mut conn = self.db.pool.acquire().await.unwrap();
        outbox::hint(&mut conn, Lane::Bulk, outbox::Pick::up_to(10), Uuid::nil()).await.unwrap();
        let sql = "SELECT job_id FROM outbox WHERE dedupe_key = $1";
        let job: Uuid = sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(&mut *conn).await.unwrap();
        let job = outbox::claim(&mut conn, &[job], Uuid::new_v4()).await.unwrap().remove(0);
        drop(conn);
        let (_, handler) = self.registry().find(&job.kind).unwrap();
        assert_eq!(handler.run(job).await, domain::job::Verdict::Settled);
    }

    pub(super) async fn read(&self, id: ImportId) -> MemberImport {
        let mut conn = self.db.pool.acquire().await.unwrap();
        import::read_many(&mut conn, &self.owner, &[id]).await.unwrap().pop().unwrap()
    }

    /// All rows, page by page.
    pub(super) async fn rows(&self, id: ImportId, outcome: Option<Outcome>) -> Vec<RowOutcome> {
        let mut conn = self.db.pool.acquire().await.unwrap();
        let filter = RowFilter { outcomes: outcome.into_iter().collect(), ..RowFilter::default() };
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let arguments = Arguments { first: Some(100), after, ..Arguments::default() };
            let request = Request::new(&arguments, import::ROWS).unwrap();
            let page = import::rows(&self.db, &mut conn, &self.owner, id, (&filter, &request)).await.unwrap();
            after = page.rows.last().map(|(cursor, _)| cursor.encode());
            all.extend(page.rows.into_iter().map(|(_, row)| row));
            if !page.has_next {
                return all;
            }
        }
    }

    /// Row and codes of each rejected row.
    pub(super) async fn rejected(&self, id: ImportId) -> Vec<(i32, Vec<&'static str>)> {
        let rows = self.rows(id, Some(Outcome::Rejected)).await;
        rows.into_iter().map(|row| (row.row_no, row.faults.iter().map(|fault| fault.code.as_str()).collect())).collect()
    }

    /// Seats in use, and seats that somebody holds; seen at one moment.
    pub(super) async fn seats(&self) -> (i32, i32) {
        let sql = "SELECT in_use, ((SELECT count(*) FROM license_allocation) + (SELECT sum(seats_held) FROM member_import))::int
                   FROM license_pool";
        sqlx::query_as(sql).fetch_one(&self.db.pool).await.unwrap()
    }

    pub(super) async fn count(&self, sql: &'static str) -> i32 {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&self.db.pool).await.unwrap();
        i32::try_from(count).unwrap()
    }

    /// Whether somebody waits for a lock.
    pub(super) async fn waits(&self) -> bool {
        let sql = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                   WHERE NOT granted AND datname = current_database()";
        self.count(sql).await > 0
    }

    /// The files in the store.
    pub(super) async fn stored(&self) -> Vec<String> {
        self.files.older_than("uploads", jiff::SignedDuration::from_hours(-1)).await.unwrap()
    }
}

pub(super) fn password() -> SecretString {
    "a long enough passphrase".into()
}

async fn found(db: &Db, passwords: &Passwords, seats: i32) -> Actor {
    let email = "owner@firm.example";
    let sign_up = SignUp {
        account_name: "Firm",
        time_zone: None,
        first_name: "Olga",
        last_name: "Owner",
        email,
        password: &password(),
        refuse_personal_domains: true,
    };
    sign_up::request(db, passwords, Origin::system(), sign_up).await.unwrap();
    let id: Uuid = sqlx::query_scalar("SELECT sign_up_id FROM sign_up").fetch_one(&db.pool).await.unwrap();
    let token = db.key.derive(Purpose::SignUp, None, SignUpId(id).0, 1).expose();
    sign_up::confirm(db, Origin::system(), &token, seats).await.unwrap();
    sign_in(db, passwords, email).await
}

async fn sign_in(db: &Db, passwords: &Passwords, email: &str) -> Actor {
    let sign_in = SignIn { email, password: &password(), account_id: None, client: Client::default() };
    let opened = session::create(db, passwords, Origin::system(), sign_in).await.unwrap();
    session::authenticate(db, &opened.token.expose(), Origin::system()).await.unwrap().actor
}
