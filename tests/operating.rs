//! What an operator sees of running processes: their logs, and that settings have the effect they promise.

use anyhow::{Context as _, Result};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::support::app::{Options, Person};
use crate::support::process::{Fleet, Process};

const ID: &str = "019ac0de-0000-7000-8000-00000000a11d";

/// The lines of a JSON log; all of it must be JSON.
fn lines(process: &Process) -> Vec<Value> {
    let log = process.log();
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The value of a field of the spans that a line was written in.
fn of_span<'a>(line: &'a Value, field: &str) -> Option<&'a str> {
    line["spans"].as_array()?.iter().find_map(|span| span[field].as_str())
}

/// An installation whose owner is signed in, and its only process.
async fn serve(extra: Vec<(&'static str, String)>) -> Result<(Fleet, Process, Person)> {
    let mut fleet = Fleet::new(false, Options::default()).await?;
    fleet.extra = extra;
    let process = fleet.start("serve").await?;
    let owner = fleet.app.found("olivia@harbor.example", 5).await?;
    Ok((fleet, process, owner))
}

#[tokio::test]
async fn json_lines_of_requests_and_jobs_carry_their_ids() -> Result<()> {
    let (fleet, process, owner) = serve(vec![("MUSTER_LOG_FORMAT", "json".to_owned())]).await?;
    let bearer = format!("Bearer {}", owner.token);
    let input = json!({ "invitations": [{ "email": "ada@firm.example", "roleIds": ["rol_00000000000070008000000000000005"] }] });
    let document =
        "mutation Invite($input: MemberInviteInput!) { memberInvite(input: $input) { userErrors { code } } }";
    let headers = [("authorization", bearer.as_str()), ("x-request-id", ID)];
    let answer = fleet.app.graphql_with(&headers, document, json!({ "input": input })).await?;
    assert!(answer.codes().is_empty(), "{}", answer.body);
    fleet.app.letter("ada@firm.example").await?;

    let lines = lines(&process);
    let of_request = |route: &str| {
        let is_it = |line: &&Value| line["http.route"] == route && of_span(line, "request.id") == Some(ID);
        lines.iter().find(is_it).with_context(|| format!("no line of {route} in {lines:#?}"))
    };
    let request = of_request("/graphql")?;
    assert_eq!((&request["http.status"], &request["http.method"]), (&json!(200), &json!("POST")));
    assert!(request["elapsed.ms"].is_u64(), "{request}");
    assert_eq!(of_span(request, "graphql.operation"), Some("Invite"));
    let job = lines.iter().find(|line| line["message"] == "job ended" && of_span(line, "request.id") == Some(ID));
    let job = job.with_context(|| format!("no line of the job in {lines:#?}"))?;
    assert_eq!(of_span(job, "job.kind"), Some("mail.invitation"));
    assert!(of_span(job, "job.id").is_some_and(|id| id.len() == 36), "{job}");
    assert!(!process.log().contains("ada@firm.example"));
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn whatever_is_refused_has_an_id_and_a_line_without_its_path() -> Result<()> {
    let (fleet, process, _) = serve(vec![("MUSTER_LOG_FORMAT", "json".to_owned())]).await?;
    let (http, url) = (&fleet.app.http, &fleet.app.url);
    let long = "x".repeat(200_000);
    let cases = [
        (http.post(format!("{url}/graphql")).header("origin", "https://evil.example").body("{}"), "/graphql", 403),
        (http.post(format!("{url}/graphql")).header("content-type", "application/json").body(long), "/graphql", 413),
        (http.get(format!("{url}/invitation/mus_secret")), "/invitation/{token}", 404),
        (http.put(format!("{url}/uploads/mus_secret")).body("x"), "/uploads/{token}", 404),
        (http.get(format!("{url}/mus_secret")), "none", 404),
    ];
    for (index, (request, route, status)) in cases.into_iter().enumerate() {
        let id = format!("{index:032x}");
        let answer = request.header("x-request-id", &id).send().await?;
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["x-request-id"].to_str()?),
            (status, id.as_str()),
            "{route}"
        );
        let lines = lines(&process);
        let line = lines.iter().find(|line| !line["http.route"].is_null() && of_span(line, "request.id") == Some(&id));
        let line = line.with_context(|| format!("no line of {route}"))?;
        assert_eq!((&line["http.route"], &line["http.status"]), (&json!(route), &json!(status)));
    }
    assert!(!process.log().contains("mus_secret"));
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn error_lines_carry_the_id_of_their_request_at_any_level() -> Result<()> {
    // The line that says where it listens is waited for.
    let (fleet, process, owner) = serve(vec![("MUSTER_LOG_FILTER", "error,muster=info".to_owned())]).await?;
    let mut admin = PgConnection::connect(fleet.app.config.database_url.expose_secret()).await?;
    admin.execute("ALTER TABLE license_pool RENAME TO license_pool_away").await?;
    let bearer = format!("Bearer {}", owner.token);
    let headers = [("authorization", bearer.as_str()), ("x-request-id", ID)];
    let answer = fleet.app.graphql_with(&headers, "{ account { licensePools { owned } } }", Value::Null).await?;
    admin.execute("ALTER TABLE license_pool_away RENAME TO license_pool").await?;
    assert_eq!(answer.errors(), ["INTERNAL_SERVER_ERROR"]);
    let log = process.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(!errors.is_empty() && errors.iter().all(|line| line.contains(&format!("request.id={ID}"))), "{log}");
    assert!(!log.contains("http.route"), "{log}");
    fleet.finish(vec![process]).await
}

#[tokio::test]
async fn rate_limits_can_be_lifted() -> Result<()> {
    for (limits, expected) in [("true", "RATE_LIMITED"), ("false", "CREDENTIALS_INVALID")] {
        let (fleet, process, owner) = serve(vec![("MUSTER_LIMITS_RATE_LIMITS", limits.to_owned())]).await?;
        let input = json!({ "email": owner.email, "password": "not the right one" });
        let mut last = Vec::new();
        for _ in 0..12 {
            last = fleet.app.mutate(None, "sessionCreate", input.clone(), "token").await?.codes();
        }
        assert_eq!(last, [expected], "limits.rate_limits = {limits}");
        fleet.finish(vec![process]).await?;
    }
    Ok(())
}
