//! The whole product in this process: the API on a port of its own, the worker, a database of its own, a clock that can be
//! moved, and mail that can be read. It speaks GraphQL and takes links out of mails, as its users do.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use api::graphql::ws::OpenSockets;
use api::server::Server;
use api::state::State;
use domain::infra::config::{Config, MailTransport};
use domain::infra::db::Db;
use domain::infra::files::{self, Files};
use domain::session::Activity;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{Parts, Worker};

use super::database::Database;
use super::firm::CHEAP;
use super::mailbox::{Letter, Mailbox};

/// A request id as clients may choose it.
pub(crate) const REQUEST_ID: &str = "5a3e00005a3e40008a3e00005a3e0000";

/// Nothing here takes this long; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running installation.
pub(crate) struct App {
    pub(crate) db: Db,
    pub(crate) url: String,
    pub(crate) config: Arc<Config>,
    pub(crate) files: Files,
    pub(crate) mailbox: Mailbox,
    pub(crate) http: reqwest::Client,
    /// Uses of sessions that the API has not written yet.
    pub(crate) activity: Arc<Activity>,
    /// Sockets the API has open.
    pub(crate) sockets: Arc<OpenSockets>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    database: Database,
    _folder: Folder,
}

/// A folder that goes away with this value.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The answer to a GraphQL request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The data below a pointer like `/memberInvite/invitations/0/id`; fails the test when there are top-level errors.
    #[track_caller]
    pub(crate) fn data(&self, pointer: &str) -> &Value {
        assert!(self.body.get("errors").is_none(), "{}", self.body);
        self.body["data"].pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer} in {}", self.body))
    }

    /// A text below a pointer.
    #[track_caller]
    pub(crate) fn text(&self, pointer: &str) -> String {
        let value = self.data(pointer);
        value.as_str().unwrap_or_else(|| panic!("no text at {pointer} in {}", self.body)).to_owned()
    }

    /// The codes in `userErrors` of the only mutation.
    #[track_caller]
    pub(crate) fn codes(&self) -> Vec<String> {
        self.user_errors().iter().map(|error| error["code"].as_str().unwrap().to_owned()).collect()
    }

    /// The `userErrors` of the only mutation.
    #[track_caller]
    pub(crate) fn user_errors(&self) -> Vec<Value> {
        let fields = self.body["data"].as_object().unwrap_or_else(|| panic!("no data in {}", self.body));
        let payload = fields.values().next().unwrap_or_else(|| panic!("no field in {}", self.body));
        payload["userErrors"].as_array().unwrap_or_else(|| panic!("no userErrors in {}", self.body)).clone()
    }

    /// The codes of the top-level errors.
    pub(crate) fn errors(&self) -> Vec<String> {
        let errors = self.body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["extensions"]["code"].as_str().unwrap_or("none").to_owned()).collect()
    }
}

/// What of an installation differs from the usual.
pub(crate) struct Options {
    /// Changes the settings.
    pub(crate) configure: fn(&mut Config),
    /// The port of this host's mail server that gets the mail, instead of the outbox; whoever sets it says where to read it.
    pub(crate) smtp_port: Option<u16>,
    /// Whether there is an API in this process.
    pub(crate) api: bool,
    /// Whether there is a worker in this process.
    pub(crate) worker: bool,
    /// The address of a database server other than that of all tests.
    pub(crate) server: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { configure: |_| {}, smtp_port: None, api: true, worker: true, server: None }
    }
}

impl App {
    /// API and worker with the usual settings.
    pub(crate) async fn start() -> Result<Self> {
        Self::with(Options::default()).await
    }

    /// The same, with places and time for all who come at once: where it is not the question who is refused.
    pub(crate) async fn roomy() -> Result<Self> {
        let configure = |config: &mut Config| {
            config.limits.concurrent_requests = 400;
            config.limits.request_seconds = 60;
        };
        Self::with(Options { configure, ..Options::default() }).await
    }

    /// API, and the worker if wanted.
    pub(crate) async fn with(options: Options) -> Result<Self> {
        let mut database = match &options.server {
            Some(server) => Database::on(server).await,
            None => Database::new().await,
        };
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let url = if options.api { format!("http://{}", listener.local_addr()?) } else { String::new() };
        let folder = Folder(std::env::temp_dir().join(format!("muster-{}", uuid::Uuid::new_v4().simple())));
        let mut config = Config::defaults(database.url());
        config.data_dir.clone_from(&folder.0);
        config.http.public_url = format!("http://{}", listener.local_addr()?);
        config.http.drain_seconds = 0;
        config.http.shutdown_seconds = 5;
        match options.smtp_port {
            None => config.mail.transport = MailTransport::Outbox,
            Some(port) => config.mail.smtp.port = port,
        }
        config.password = CHEAP;
        (options.configure)(&mut config);
        database.db = database.db.clone().with_settings(&config);
        let (db, config) = (database.db.clone(), Arc::new(config));
        let files = files::open(&config)?;
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        let state = State::new(db.clone(), Arc::clone(&config), files.clone());
        let (activity, sockets) = (Arc::clone(&state.activity), Arc::clone(&state.sockets));
        if options.api {
            let server = Server::new(state);
            let stopping = stop.clone();
            tasks.push(tokio::spawn(async move { server.serve(listener, stopping).await }));
        }
        if options.worker {
            let registry = worker::job::registry(&db, &config, &files, &stop)?;
            let own = Parts {
                pool: db.pool.clone(),
                clock: db.clock.clone(),
                registry,
                // Tests run sweeps when they want them to run.
                sweeps: Vec::new(),
                waker: db.waker.clone(),
            };
            let worker = Worker::start(own, &config, &stop)?;
            tasks.push(tokio::spawn(async move { worker.stopped().await.unwrap() }));
        }
        let mailbox = Mailbox::new(config.data_dir.join("mail"));
        let http = reqwest::Client::new();
        Ok(Self { db, url, config, files, mailbox, http, activity, sockets, stop, tasks, database, _folder: folder })
    }

    /// Starts another API with connections, limits and caches of its own, as another process has; answers its URL.
    pub(crate) async fn replica(&mut self) -> Result<String> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let pool = super::database::open(&self.config.database_url).await?;
        let db = Db::new(pool, self.db.clock.clone(), self.db.waker.clone(), Arc::clone(&self.db.key));
        let db = db.with_settings(&self.config);
        let server = Server::new(State::new(db, Arc::clone(&self.config), self.files.clone()));
        let stopping = self.stop.clone();
        self.tasks.push(tokio::spawn(async move { server.serve(listener, stopping).await }));
        Ok(url)
    }

    /// Sends a document with variables, signed in by `token` if there is one.
    pub(crate) async fn graphql(&self, token: Option<&str>, document: &str, variables: Value) -> Result<Answer> {
        self.graphql_at(&self.url, token, document, variables).await
    }

    /// Sends a document to one of several APIs.
    pub(crate) async fn graphql_at(
        &self,
        url: &str,
        token: Option<&str>,
        document: &str,
        variables: Value,
    ) -> Result<Answer> {
        let body = json!({ "query": document, "variables": variables });
        let mut request = self.http.post(format!("{url}/graphql")).json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.json().await? })
    }

    /// [`App::graphql`] with headers of the client's choice instead of a bearer token.
    pub(crate) async fn graphql_with(
        &self,
        headers: &[(&str, &str)],
        document: &str,
        variables: Value,
    ) -> Result<Answer> {
        let body = json!({ "query": document, "variables": variables });
        let mut request = self.http.post(format!("{}/graphql", self.url)).json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.json().await? })
    }

    /// Runs a mutation with its input and asks for `fields` of its payload, besides `userErrors`.
    pub(crate) async fn mutate(
        &self,
        token: Option<&str>,
        mutation: &str,
        input: Value,
        fields: &str,
    ) -> Result<Answer> {
        self.mutate_at(&self.url, token, mutation, input, fields).await
    }

    /// [`App::mutate`] of a client that comes again when it is told to, after the second it is told to wait, for half a minute.
    pub(crate) async fn mutate_patiently(
        &self,
        token: Option<&str>,
        mutation: &str,
        input: Value,
        fields: &str,
    ) -> Result<Answer> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.mutate(token, mutation, input.clone(), fields).await?;
            if answer.errors() != ["SERVICE_UNAVAILABLE"] || tokio::time::Instant::now() > deadline {
                return Ok(answer);
            }
            ensure!(answer.status == 503 && answer.headers["retry-after"] == "1", "{answer:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Runs a mutation at one of several APIs.
    pub(crate) async fn mutate_at(
        &self,
        url: &str,
        token: Option<&str>,
        mutation: &str,
        input: Value,
        fields: &str,
    ) -> Result<Answer> {
        let kind = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
        let document = format!(
            "mutation ($input: {kind}!) {{ {mutation}(input: $input) {{ {fields} userErrors {{ code field message
               ... on SeatShortageError {{ required available }} ... on NotPermittedError {{ permissions }}
               ... on QuotaError {{ retryAt }} ... on ClosedAccountsError {{ accounts {{ name status }} }} }} }} }}"
        );
        self.graphql_at(url, token, &document, json!({ "input": input })).await
    }

    /// Signs somebody in and answers their token.
    pub(crate) async fn sign_in(&self, email: &str) -> Result<String> {
        let input = json!({ "email": email, "password": PASSWORD });
        let answer = self.mutate(None, "sessionCreate", input, "token").await?;
        Ok(answer.text("/sessionCreate/token"))
    }

    /// Founds an account by sign-up, mail and confirmation, with so many seats; answers its owner.
    pub(crate) async fn found(&self, email: &str, seats: i32) -> Result<Person> {
        let input = json!({
            "accountName": "Harbor & Finch", "firstName": "Olivia", "lastName": "Harbor", "email": email, "password": PASSWORD,
        });
        ensure!(self.mutate(None, "signUp", input, "accepted").await?.codes().is_empty());
        let letter = self.letter(email).await?;
        let answer = self.mutate(None, "signUpConfirm", json!({ "token": letter.token() }), "accountId").await?;
        let account_id = answer.text("/signUpConfirm/accountId");
        self.grant_seats(&account_id, seats).await?;
        self.person(email).await
    }

    /// What `muster seats set` does.
    pub(crate) async fn grant_seats(&self, account: &str, seats: i32) -> Result<()> {
        use domain::actor::Origin;
        use domain::change::{Change, Kind};
        let account = account.parse()?;
        let mut change = Change::begin(&self.db, account, Kind::System, Origin::operator(), None).await?;
        domain::license::set_granted(&mut change, seats, None).await?;
        Ok(change.commit().await?)
    }

    /// Somebody who has a login, signed in.
    pub(crate) async fn person(&self, email: &str) -> Result<Person> {
        let token = self.sign_in(email).await?;
        let answer = self.graphql(Some(&token), "{ viewer { member { id } account { id } } }", Value::Null).await?;
        Ok(Person {
            email: email.to_owned(),
            member_id: answer.text("/viewer/member/id"),
            account_id: answer.text("/viewer/account/id"),
            token,
        })
    }

    /// Invites somebody with some system roles; answers the invitation's id.
    pub(crate) async fn invite(&self, by: &Person, email: &str, roles: &[SystemRole]) -> Result<Answer> {
        let roles: Vec<String> = roles.iter().map(|role| role.id().to_string()).collect();
        let input = json!({ "invitations": [{ "email": email, "roleIds": roles }] });
        self.mutate_patiently(Some(&by.token), "memberInvite", input, "invitations { id state member { id } }").await
    }

    /// Invites somebody, who accepts by the link in the mail and signs in.
    pub(crate) async fn join(&self, by: &Person, email: &str, roles: &[SystemRole]) -> Result<Person> {
        let invited = self.invite(by, email, roles).await?;
        ensure!(invited.codes().is_empty(), "{}", invited.body);
        let letter = self.letter(email).await?;
        let accepted = self.accept(&letter.token(), "Jo", "Doe").await?;
        ensure!(accepted.codes().is_empty(), "{}", accepted.body);
        self.person(email).await
    }

    /// Accepts an invitation as somebody new.
    pub(crate) async fn accept(&self, token: &str, first: &str, last: &str) -> Result<Answer> {
        let input = json!({ "token": token, "firstName": first, "lastName": last, "password": PASSWORD });
        self.mutate(None, "invitationAccept", input, "accountId memberId").await
    }

    /// The newest mail to an address, once there is no work left.
    pub(crate) async fn letter(&self, email: &str) -> Result<Letter> {
        self.settle().await?;
        let letters = self.mailbox.to(email)?;
        letters.into_iter().next_back().with_context(|| format!("no mail to {email}"))
    }

    /// Waits until the worker has nothing to do.
    pub(crate) async fn settle(&self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.jobs("wake_at <= now() + interval '1 minute'").await? > 0 {
            if tokio::time::Instant::now() > deadline {
                bail!("the worker does not come to an end");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// How many jobs meet a condition.
    pub(crate) async fn jobs(&self, condition: &str) -> Result<i64> {
        let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM outbox WHERE {condition}"));
        Ok(sqlx::query_scalar(statement).fetch_one(&self.db.pool).await?)
    }

    /// What a test reads of the database to check an invariant: one value, as text.
    pub(crate) async fn look(&self, statement: &str) -> Result<Option<String>> {
        let statement = sqlx::AssertSqlSafe(format!("SELECT v::text FROM ({statement}) t(v)"));
        Ok(sqlx::query_scalar::<_, Option<String>>(statement).fetch_optional(&self.db.pool).await?.flatten())
    }

    /// Lets business time pass.
    pub(crate) fn pass(&self, time: SignedDuration) {
        self.db.clock.advance(time);
    }

    /// Runs a sweep now.
    pub(crate) async fn sweep(&self, name: &str) -> Result<i32> {
        let sweeps = worker::sweeps::all(&self.db, &self.files, self.config.retention);
        Ok(worker::schedule::run_now(&self.db.pool, &self.db.clock, &sweeps, name, None).await?)
    }

    /// Ends the test: nothing may be left to do, and nothing may have died.
    pub(crate) async fn finish(self) -> Result<()> {
        self.settle().await?;
        ensure!(self.jobs("dead_at IS NOT NULL").await? == 0, "jobs have died");
        self.close().await;
        Ok(())
    }

    /// Stops the process without looking at what is left.
    pub(crate) async fn close(mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            let _ = task.await;
        }
        self.database.remove().await;
    }
}

pub(crate) use super::firm::PASSWORD;
use domain::permission::SystemRole;

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) email: String,
    pub(crate) member_id: String,
    pub(crate) account_id: String,
    pub(crate) token: String,
}
