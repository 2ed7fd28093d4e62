//! What an operator runs on the host: the program itself, on a database of its own.

use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context as _, ensure};
use domain::infra::secret::{Purpose, Token};
use domain::job::{JobKind, NewJob};
use domain::outbox;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::process::Command;
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::firm;

/// A migrated database, a data folder and the program.
struct Host {
    database: Database,
    data_dir: PathBuf,
}

impl Host {
    async fn new() -> anyhow::Result<Self> {
        let data_dir = std::env::temp_dir().join(format!("muster-operator-{}", Uuid::new_v4()));
        std::fs::create_dir(&data_dir)?;
        Ok(Self { database: Database::new().await, data_dir })
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        self.run_with(&[], arguments).await
    }

    /// Runs a command with other variables than the usual ones.
    async fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> anyhow::Result<Output> {
        let program = std::env::var("MUSTER_BIN").context("MUSTER_BIN is set by ./dev test")?;
        let run = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("DATABASE_URL", self.database.url().expose_secret())
            .env("MUSTER_DATA_DIR", &self.data_dir)
            .env("MUSTER_INSTALLATION_KEY", "07".repeat(32))
            // As cheap as it may be: it is not what is tested.
            .env("MUSTER_PASSWORD_MEMORY_KIB", "1024")
            .env("MUSTER_PASSWORD_PASSES", "1")
            .envs(variables.iter().copied())
            .output();
        Ok(run.await?)
    }

    /// The lines of a command that must succeed.
    async fn lines(&self, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
        let output = self.run(arguments).await?;
        ensure!(output.status.success(), "{arguments:?}: {}", complaint(&output));
        Ok(lines(&output))
    }

    /// What a command that must fail complains about, in one line.
    async fn complaint(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.run(arguments).await?;
        let complaint = complaint(&output);
        ensure!(output.status.code() == Some(1) && complaint.lines().count() == 1, "{arguments:?}: {complaint}");
        Ok(complaint)
    }

    async fn count(&self, query: &'static str) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar(query).fetch_one(&self.database.db.pool).await?)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data_dir);
    }
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn job(key: &str) -> NewJob {
    NewJob {
        account_id: Uuid::nil(),
        kind: JobKind::MailSignUp,
        payload: json!({ "signUpId": key }),
        dedupe_key: key.to_owned(),
    }
}

#[tokio::test]
async fn jobs_are_listed_buried_and_retried() -> anyhow::Result<()> {
    let host = Host::new().await?;
    let mut conn = host.database.db.pool.acquire().await?;
    outbox::insert(&mut conn, &[job("a"), job("b")], None).await?;

    let listed = host.lines(&["jobs", "list"]).await?;
    assert_eq!(listed.len(), 3, "a heading and two jobs: {listed:#?}");
    assert!(listed[1..].iter().all(|line| line.contains(" DUE ") && line.contains("mail.sign_up")), "{listed:#?}");
    assert_eq!(host.lines(&["jobs", "list", "--limit", "1"]).await?.len(), 2);
    assert_eq!(host.lines(&["jobs", "list", "--kind", "mail.invitation"]).await?, Vec::<String>::new());
    let ids: Vec<&str> = listed[1..].iter().filter_map(|line| line.split(' ').next()).collect();

    host.lines(&["jobs", "bury", ids[0], ids[1]]).await?;
    let dead = host.lines(&["jobs", "list", "--dead"]).await?;
    assert_eq!(dead.iter().filter(|line| line.contains(" DEAD ") && line.ends_with("BURIED")).count(), 2, "{dead:#?}");
    let again = host.run(&["jobs", "bury", ids[0]]).await?;
    assert_eq!(again.status.code(), Some(1));
    assert!(lines(&again)[0].ends_with("is no job that could still run"));

    assert_eq!(host.lines(&["jobs", "retry", ids[0]]).await?, [format!("{} is due", ids[0])]);
    assert_eq!(host.lines(&["jobs", "list", "--dead"]).await?.len(), 2);
    // What waits for a retry gives way to an equal job that was asked for since.
    outbox::insert(&mut conn, &[job("b")], None).await?;
    let superseded = host.run(&["jobs", "retry", "--all-dead"]).await?;
    assert_eq!(superseded.status.code(), Some(1));
    assert!(lines(&superseded)[0].contains("an equal job is not finished"), "{:?}", lines(&superseded));
    Ok(())
}

#[tokio::test]
async fn sweeps_are_listed_and_run() -> anyhow::Result<()> {
    let host = Host::new().await?;
    let listed = host.lines(&["sweeps", "list"]).await?;
    let lapse = listed.iter().find(|line| line.starts_with("invitations.lapse ")).context("a row")?;
    assert!(lapse.contains("1 min") && lapse.contains("never ran"), "{lapse}");

    host.lines(&["seed"]).await?;
    // Three that were delivered, one of them to somebody who is suspended, and three that still wait for the worker.
    let in_four_days = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(100)).to_string();
    let ran = host.lines(&["sweeps", "run", "invitations.lapse", "--at", &in_four_days]).await?;
    assert_eq!(ran, ["invitations.lapse acted on 6"]);
    let listed = host.lines(&["sweeps", "list"]).await?;
    let lapse = listed.iter().find(|line| line.starts_with("invitations.lapse ")).context("a row")?;
    let cells: Vec<&str> = lapse.split_whitespace().collect();
    assert!(cells.ends_with(&["finished", "6", "-"]), "{lapse}");

    let unknown = host.complaint(&["sweeps", "run", "chimneys"]).await?;
    assert!(unknown.contains("there is no sweep chimneys") && unknown.contains("jobs.purge"), "{unknown}");
    Ok(())
}

#[tokio::test]
async fn seats_are_granted_but_never_fewer_than_are_in_use() -> anyhow::Result<()> {
    let host = Host::new().await?;
    let env = host.lines(&["seed", "--env"]).await?;
    let account =
        env[3].strip_prefix("MUSTER_ACCOUNT_ID='").and_then(|rest| rest.strip_suffix('\'')).context("an id")?;
    assert_eq!(
        host.lines(&["seats", "set", account, "50"]).await?,
        ["Harbor & Finch LLP: 50 seats granted, 35 in use, 15 free"]
    );
    let shortage = host.complaint(&["seats", "set", account, "34"]).await?;
    assert!(shortage.contains("not enough free seats") && shortage.contains("Needed: 35"), "{shortage}");
    let stranger = "acc_00000000000070008000000000000000";
    let unknown = host.complaint(&["seats", "set", stranger, "50"]).await?;
    assert!(unknown.contains(&format!("there is no account {stranger}")), "{unknown}");
    let events = "SELECT count(*) FROM event WHERE kind = 'seats.set' AND actor_kind = 'OPERATOR'";
    assert_eq!(host.count(events).await?, 3, "two by the seed, one by hand");
    Ok(())
}

#[tokio::test]
async fn demo_data_comes_once_and_shows_every_state() -> anyhow::Result<()> {
    let host = Host::new().await?;
    let first = host.lines(&["seed"]).await?;
    let events = host.count("SELECT count(*) FROM event").await?;
    assert_eq!(host.lines(&["seed"]).await?, first);
    assert_eq!(host.count("SELECT count(*) FROM event").await?, events, "the second time changes nothing");

    let firm = "SELECT count(*) FROM member JOIN account USING (account_id) WHERE name = 'Harbor & Finch LLP'";
    assert_eq!(host.count(firm).await?, 40);
    let states = "SELECT count(DISTINCT (state, undeliverable)) FROM invitation";
    assert_eq!(host.count(states).await?, 7, "six states, and one that could not be delivered");
    assert_eq!(host.count("SELECT count(DISTINCT status) FROM member").await?, 4);
    let shared = "SELECT count(*) FROM (SELECT user_id FROM member GROUP BY user_id HAVING count(*) > 1 AND user_id IS NOT NULL) s";
    assert_eq!(host.count(shared).await?, 1);
    let wrong_seats = "SELECT count(*) FROM license_pool p WHERE in_use <> (SELECT count(*) FROM license_allocation a \
                       WHERE a.account_id = p.account_id AND a.product_id = p.product_id)";
    assert_eq!(host.count(wrong_seats).await?, 0);
    let disorder = "SELECT count(*) FROM event a JOIN event b ON b.account_id = a.account_id AND b.seq = a.seq + 1 \
                    WHERE b.occurred_at < a.occurred_at - interval '1 minute'";
    assert_eq!(host.count(disorder).await?, 0, "the past happened in order, but for people who accepted at once");
    let wanted = "SELECT count(*) FROM outbox o JOIN invitation i ON i.invitation_id::text = \
                  regexp_replace(substr(o.payload->>'invitationId', 5), '(.{8})(.{4})(.{4})(.{4})(.{12})', '\\1-\\2-\\3-\\4-\\5') \
                  WHERE i.state = 'PENDING' AND i.sent_at IS NULL";
    assert_eq!(host.count(wanted).await?, 3, "a few mails to look at");
    Ok(())
}

#[tokio::test]
async fn the_demo_token_is_the_owners_and_the_only_one() -> anyhow::Result<()> {
    let host = Host::new().await?;
    host.lines(&["seed", "--env"]).await?;
    let env = host.lines(&["seed", "--env"]).await?;
    let names: Vec<&str> = env.iter().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(names, ["MUSTER_TOKEN", "MUSTER_OWNER_EMAIL", "MUSTER_OWNER_PASSWORD", "MUSTER_ACCOUNT_ID"]);
    assert!(env.iter().all(|line| line.ends_with('\'')), "quoted for a shell: {env:?}");
    let token = env[0].split('\'').nth(1).context("a token")?;
    let token = Token::parse(Purpose::Session, token).context("a session's token")?;
    let stored: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT token_hash FROM session").fetch_all(&host.database.db.pool).await?;
    assert_eq!(stored, [token.hash()], "earlier ones are gone");
    Ok(())
}

#[tokio::test]
async fn demo_data_stays_out_of_an_installation_that_is_in_use() -> anyhow::Result<()> {
    let host = Host::new().await?;
    firm::found(&host.database.db, "jane@doe.example").await;
    let refused = host.complaint(&["seed"]).await?;
    assert!(refused.contains("has accounts already"), "{refused}");
    assert_eq!(host.count("SELECT count(*) FROM account").await?, 1);
    host.lines(&["seed", "--force"]).await?;
    assert_eq!(host.count("SELECT count(*) FROM account").await?, 3);
    host.lines(&["seed"]).await?;
    Ok(())
}

#[tokio::test]
async fn the_schema_needs_no_configuration() -> anyhow::Result<()> {
    let program = std::env::var("MUSTER_BIN").context("MUSTER_BIN is set by ./dev test")?;
    let output = Command::new(program).arg("schema").env_clear().output().await?;
    ensure!(output.status.success(), "{}", complaint(&output));
    assert!(lines(&output).iter().any(|line| line == "type Mutation {"));
    Ok(())
}

#[tokio::test]
async fn a_configuration_is_shown_without_its_secrets() -> anyhow::Result<()> {
    let host = Host::new().await?;
    let secrets = [("MUSTER_MAIL_SMTP_USERNAME", "muster"), ("MUSTER_MAIL_SMTP_PASSWORD", "hunter2")];
    let shown = host.run_with(&secrets, &["config", "show", "--set", "http.listen=0.0.0.0:1"]).await?;
    ensure!(shown.status.success(), "{}", complaint(&shown));
    let shown = lines(&shown);
    let row = |key: &str| {
        let row = shown.iter().find(|line| line.split_whitespace().next() == Some(key));
        row.with_context(|| format!("no row of {key}")).map(|row| row.split_whitespace().collect::<Vec<_>>())
    };
    assert_eq!(row("database_url")?, ["database_url", "***", "DATABASE_URL"]);
    assert_eq!(row("installation_key")?, ["installation_key", "***", "MUSTER_INSTALLATION_KEY"]);
    assert_eq!(row("mail.smtp.password")?, ["mail.smtp.password", "***", "MUSTER_MAIL_SMTP_PASSWORD"]);
    assert_eq!(row("http.listen")?, ["http.listen", "0.0.0.0:1", "command", "line"]);
    let all = shown.join("\n");
    assert!(!all.contains("hunter2") && !all.contains(&"07".repeat(32)) && !all.contains("postgres://"), "{all}");
    Ok(())
}

#[tokio::test]
async fn a_refused_configuration_lists_all_its_faults() -> anyhow::Result<()> {
    let host = Host::new().await?;
    let wrong = [("MUSTER_LOG_FORMAT", "xml"), ("MUSTER_COLOUR", "red"), ("MUSTER_MAIL_SMTP_PASSWORD", "hunter2")];
    for command in [&["serve"][..], &["migrate"], &["config", "show"]] {
        let mut arguments = vec!["--set", "mail.smtp.port=70000"];
        arguments.extend(command);
        let refused = host.run_with(&wrong, &arguments).await?;
        let complaint = complaint(&refused);
        assert_eq!(refused.status.code(), Some(2), "{command:?}: {complaint}");
        for fault in ["MUSTER_LOG_FORMAT is \"xml\"", "MUSTER_COLOUR", "mail.smtp.port is \"70000\""] {
            assert!(complaint.contains(fault), "{command:?} without {fault}: {complaint}");
        }
        assert!(!complaint.contains("hunter2"), "{complaint}");
    }
    Ok(())
}

#[tokio::test]
async fn the_doctor_names_each_fault_and_its_mend() -> anyhow::Result<()> {
    let host = Host::new().await?;
    let well = host.run_with(&[("MUSTER_MAIL_TRANSPORT", "outbox")], &["doctor"]).await?;
    assert_eq!(well.status.code(), Some(0), "{:#?}", lines(&well));

    // Nothing listens on port 1.
    let broken = [
        ("DATABASE_URL", "postgres://muster:hunter2@127.0.0.1:1/muster"),
        ("REDIS_URL", "redis://:hunter2@127.0.0.1:1/0"),
        ("MUSTER_MAIL_SMTP_HOST", "127.0.0.1"),
        ("MUSTER_MAIL_SMTP_PORT", "1"),
    ];
    let looked = host.run_with(&broken, &["doctor"]).await?;
    let lines = lines(&looked);
    assert_eq!(looked.status.code(), Some(1), "{lines:#?}");
    for (subject, mend) in [("database", "start PostgreSQL"), ("redis", "start Redis"), ("mail", "mail.smtp")] {
        let problem = lines.iter().position(|line| {
            let mut words = line.split_whitespace();
            (words.next(), words.next()) == (Some("problem"), Some(subject))
        });
        let problem = problem.with_context(|| format!("no problem of {subject} in {lines:#?}"))?;
        let next = lines.get(problem + 1).map_or("", String::as_str);
        assert!(next.trim_start().starts_with("→ ") && next.contains(mend), "{subject}: {next}");
    }
    assert!(!lines.join("\n").contains("hunter2"), "{lines:#?}");
    Ok(())
}

#[tokio::test]
async fn the_doctor_looks_at_metrics_and_traces() -> anyhow::Result<()> {
    let host = Host::new().await?;
    let telemetry = async |variables: &[(&str, &str)]| {
        let variables = [&[("MUSTER_MAIL_TRANSPORT", "outbox")], variables].concat();
        let looked = host.run_with(&variables, &["doctor"]).await?;
        let of_telemetry = |line: &String| line.split_whitespace().nth(1) == Some("telemetry");
        anyhow::Ok((
            looked.status.code(),
            lines(&looked).into_iter().filter(of_telemetry).collect::<Vec<_>>().join("\n"),
        ))
    };
    let (code, said) = telemetry(&[]).await?;
    assert!(
        code == Some(0) && said.contains("no metrics are served") && said.contains("no traces are exported"),
        "{said}"
    );
    let open = [("MUSTER_METRICS_LISTEN", "0.0.0.0:9464"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")];
    let (code, said) = telemetry(&open).await?;
    assert!(code == Some(0) && said.contains("anybody who reaches 0.0.0.0:9464"), "{said}");
    assert!(said.contains("the collector at 127.0.0.1:1 does not answer"), "{said}");
    let wrong = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
    ];
    let (code, said) = telemetry(&wrong).await?;
    assert!(
        code == Some(1) && said.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && said.contains("OTEL_EXPORTER_OTLP_HEADERS"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
    let same = [("MUSTER_METRICS_LISTEN", "127.0.0.1:9464"), ("MUSTER_HTTP_LISTEN", "127.0.0.1:9464")];
    let looked = host.run_with(&same, &["doctor"]).await?;
    assert!(lines(&looked).join("\n").contains("is the same as http.listen"), "{:#?}", lines(&looked));
    Ok(())
}

#[tokio::test]
async fn service_tokens_are_made_listed_and_revoked() -> anyhow::Result<()> {
    let host = Host::new().await?;
    let create =
        ["operator", "service-token", "create", "--name", "production", "--scope", "resources", "--scope", "access"];
    let made = host.lines(&create).await?;
    assert_eq!(made.len(), 1, "the token alone: {made:?}");
    assert!(Token::parse(Purpose::Service, &made[0]).is_some());
    let taken = host.complaint(&create).await?;
    assert!(taken.contains("has this name"), "{taken}");
    let listed = host.lines(&["operator", "service-token", "list"]).await?;
    assert_eq!(listed.len(), 2, "{listed:#?}");
    assert!(listed[1].contains(" production ") && listed[1].contains(" access,resources "), "{listed:#?}");
    assert!(listed[1].contains(&made[0][..11]) && !listed[1].contains(&made[0]), "{listed:#?}");
    let id = listed[1].split(' ').next().context("an id")?;
    let revoked = host.lines(&["operator", "service-token", "revoke", id]).await?;
    assert_eq!(revoked, [format!("{id} is revoked")]);
    assert_eq!(host.run(&["operator", "service-token", "revoke", id]).await?.status.code(), Some(1), "once");
    assert!(host.lines(&["operator", "service-token", "list"]).await?.is_empty());
    assert_eq!(host.lines(&["operator", "service-token", "list", "--all"]).await?.len(), 2);
    host.lines(&["operator", "service-token", "create", "--name", "production", "--scope", "access", "--days", "30"])
        .await?;
    let unknown = host.run(&["operator", "service-token", "create", "--name", "x", "--scope", "everything"]).await?;
    assert_eq!(unknown.status.code(), Some(2));
    let nameless = host.complaint(&["operator", "service-token", "create", "--name", " ", "--scope", "access"]).await?;
    assert!(nameless.contains("required"), "{nameless}");
    Ok(())
}
