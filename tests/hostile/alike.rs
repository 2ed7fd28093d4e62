//! Whether an address or a link is known shows neither in an answer's bytes, nor in the statements behind it, nor in how long it
//! takes. Times are printed, with what they say; `cargo nextest run -p tests alike --no-capture`.

use std::time::Instant;

use anyhow::Result;
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::{Random, seed};
use crate::support::app::{App, Options, PASSWORD, Person, REQUEST_ID};
use crate::support::statements::Statements;

/// Pairs of a measurement.
const PAIRS: usize = 300;
/// Repetitions of the bootstrap.
const RESAMPLES: usize = 1_000;

/// An answer as a stranger sees it, but for what differs each time.
type Seen = (u16, Vec<(String, String)>, Vec<u8>);

async fn ask(app: &App, body: &Value, token: Option<&str>) -> Result<(Seen, f64)> {
    let mut request = app.http.post(format!("{}/graphql", app.url)).json(body).header("x-request-id", REQUEST_ID);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let started = Instant::now();
    let response = request.send().await?;
    let status = response.status().as_u16();
    let headers = response.headers().iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}"))).collect();
    let bytes = response.bytes().await?.to_vec();
    Ok(((status, headers, bytes), started.elapsed().as_secs_f64() * 1e6))
}

fn body(mutation: &str, input: &Value, fields: &str) -> Value {
    let kind = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
    let query = format!(
        "mutation ($input: {kind}!) {{ {mutation}(input: $input) {{ {fields} userErrors {{ code field message }} }} }}"
    );
    json!({ "query": query, "variables": { "input": input } })
}

/// Value at a share of sorted samples.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some hundred samples"
    )]
    let index = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[index]
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Mann and Whitney's U as a standard normal: beyond ± 2, chance alone is an unlikely reason.
fn rank_test(known: &[f64], unknown: &[f64]) -> f64 {
    let above = |value: f64| -> f64 {
        known
            .iter()
            .map(|other| {
                if value < *other {
                    1.0
                } else if value > *other {
                    0.0
                } else {
                    0.5
                }
            })
            .sum()
    };
    #[expect(clippy::cast_precision_loss, reason = "some hundred samples")]
    let (m, n) = (known.len() as f64, unknown.len() as f64);
    let u: f64 = unknown.iter().map(|value| above(*value)).sum();
    (u - m * n / 2.0) / (m * n * (m + n + 1.0) / 12.0).sqrt()
}

/// Where the median of the differences lies in 95 of 100 resamples.
fn interval(differences: &[f64], random: &mut Random) -> (f64, f64) {
    let medians = (0..RESAMPLES).map(|_| {
        let resample = differences.iter().map(|_| differences[random.below(differences.len())]).collect();
        quantile(&sorted(resample), 0.5)
    });
    let medians = sorted(medians.collect());
    (quantile(&medians, 0.025), quantile(&medians, 0.975))
}

fn print(what: &str, known: Vec<f64>, unknown: Vec<f64>, random: &mut Random) {
    let differences: Vec<f64> = known.iter().zip(&unknown).map(|(known, unknown)| known - unknown).collect();
    let (low, high) = interval(&differences, random);
    let z = rank_test(&known, &unknown);
    let (known, unknown) = (sorted(known), sorted(unknown));
    let show = |times: &[f64]| {
        let at = [0.25, 0.5, 0.75].map(|share| quantile(times, share));
        format!("{:.0} µs ({:.0} to {:.0})", at[1], at[0], at[2])
    };
    eprintln!(
        "{what:<28} {} pairs: known {}, unknown {}; median difference {:+.0} µs (95 %: {low:+.0} to {high:+.0}), rank test z {z:+.2}",
        differences.len(),
        show(&known),
        show(&unknown),
        quantile(&sorted(differences), 0.5),
    );
}

/// Asks about a known and an unknown one in turn, in either order; compares the bytes and statements, prints the times.
async fn compare<F>(
    app: &App,
    what: &str,
    token: Option<&str>,
    (pairs, seed): (usize, u64),
    mut bodies: F,
) -> Result<()>
where
    F: AsyncFnMut(&App, usize) -> Result<[Value; 2]>,
{
    let mut random = Random::new(seed);
    let mut times = [Vec::new(), Vec::new()];
    let mut statements = Some(Statements::listen());
    for round in 0..pairs + 20 {
        // Only the first few are listened to: that costs time.
        statements = statements.filter(|_| round < 3);
        let bodies = bodies(app, round).await?;
        let first = random.below(2);
        let mut answers = [None, None];
        let mut ran = [Vec::new(), Vec::new()];
        for side in [first, 1 - first] {
            statements.as_ref().map(Statements::take);
            let (answer, time) = ask(app, &bodies[side], token).await?;
            ran[side] = statements.as_ref().map(Statements::take).unwrap_or_default();
            answers[side] = Some(answer);
            if round >= 20 {
                times[side].push(time);
            }
        }
        assert_eq!(answers[0], answers[1], "{what}");
        assert_eq!(ran[0], ran[1], "{what}");
    }
    let [known, unknown] = times;
    print(what, known, unknown, &mut random);
    Ok(())
}

/// Without limits, which would end the measurement. The worker runs beside it, as in `muster serve`, and mails those it knows.
async fn quiet() -> Result<(App, Person)> {
    let configure = |config: &mut domain::infra::config::Config| {
        config.limits.rate_limits = false;
        config.password = domain::infra::config::Password { memory_kib: 1024, passes: 1, concurrency: 1 };
    };
    let app = App::with(Options { configure, ..Options::default() }).await?;
    let owner = app.found("olivia@harborandfinch.example", 50).await?;
    app.join(&owner, "ben@harborandfinch.example", &[SystemRole::Standard]).await?;
    app.found("cleo@elsewhere.example", 3).await?;
    app.settle().await?;
    Ok((app, owner))
}

const KNOWN: &str = "ben@harborandfinch.example";
const UNKNOWN: &str = "bob@harborandfinch.example";

#[tokio::test]
async fn a_reset_is_answered_alike_for_any_address() -> Result<()> {
    let (app, _) = quiet().await?;
    let seed = seed("reset");
    let bodies = [KNOWN, UNKNOWN].map(|email| body("passwordResetRequest", &json!({ "email": email }), "accepted"));
    compare(&app, "password reset", None, (PAIRS, seed), async |_, _| Ok(bodies.clone())).await?;
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn a_sign_up_is_answered_alike_for_any_address() -> Result<()> {
    let (app, _) = quiet().await?;
    let seed = seed("sign-up");
    let bodies = [KNOWN, UNKNOWN].map(|email| {
        let input =
            json!({ "accountName": "A", "firstName": "B", "lastName": "C", "email": email, "password": PASSWORD });
        body("signUp", &input, "accepted")
    });
    compare(&app, "sign-up", None, (PAIRS, seed), async |_, _| Ok(bodies.clone())).await?;
    app.close().await;
    Ok(())
}

#[tokio::test]
async fn a_refused_sign_in_is_answered_alike_for_any_address() -> Result<()> {
    let (app, _) = quiet().await?;
    let seed = seed("sign-in");
    let bodies = [KNOWN, UNKNOWN]
        .map(|email| body("sessionCreate", &json!({ "email": email, "password": "not the password" }), "token"));
    compare(&app, "refused sign-in", None, (PAIRS, seed), async |_, _| Ok(bodies.clone())).await?;
    app.close().await;
    Ok(())
}

/// Somebody who has a login elsewhere, and nobody. Each round withdraws what the one before did.
#[tokio::test]
async fn an_invitation_is_answered_alike_whether_or_not_its_address_has_a_login_elsewhere() -> Result<()> {
    let (app, owner) = quiet().await?;
    let seed = seed("invitation");
    let bodies = ["cleo@elsewhere.example", "carl@elsewhere.example"].map(|email| {
        let item = json!({ "email": email, "roleIds": [SystemRole::Standard.id().to_string()] });
        body("memberInvite", &json!({ "invitations": [item] }), "invitations { state }")
    });
    let token = Some(owner.token.as_str());
    // Each takes a withdrawal and two mails.
    let pairs = if std::env::var_os("MUSTER_TEST_FULL").is_some() { PAIRS } else { PAIRS / 6 };
    compare(&app, "invitation", token, (pairs, seed), async |app, _| {
        let open = "SELECT invitation_id FROM invitation WHERE state NOT IN ('ACCEPTED', 'REVOKED')";
        for id in sqlx::query_scalar::<_, uuid::Uuid>(open).fetch_all(&app.db.pool).await? {
            let input = json!({ "invitationId": format!("inv_{}", id.simple()) });
            assert!(app.mutate(token, "invitationRevoke", input, "__typename").await?.codes().is_empty());
        }
        Ok(bodies.clone())
    })
    .await?;
    app.close().await;
    Ok(())
}

/// A link of an account that exists, and of one that does not.
#[tokio::test]
async fn a_link_that_never_was_is_answered_alike_whether_or_not_its_account_exists() -> Result<()> {
    let (app, owner) = quiet().await?;
    let seed = seed("link");
    let account = uuid::Uuid::parse_str(owner.account_id.trim_start_matches("acc_"))?;
    let bodies = [account, uuid::Uuid::now_v7()].map(|account| {
        let token = format!("minv.{}.{}", account.simple(), "A".repeat(43));
        let query =
            "query ($token: String!) { invitationByToken(token: $token) { invitation { email } userErrors { code } } }";
        json!({ "query": query, "variables": { "token": token } })
    });
    compare(&app, "link", None, (PAIRS, seed), async |_, _| Ok(bodies.clone())).await?;
    app.close().await;
    Ok(())
}

/// Another address for somebody: one that has a login elsewhere, and a free one; of somebody who is in another account as well, and of
/// somebody who is not.
#[tokio::test]
async fn a_change_of_a_login_is_answered_alike_whoever_has_the_address_and_wherever_the_person_is() -> Result<()> {
    let (app, owner) = quiet().await?;
    let seed = seed("login e-mail");
    let ben = app.person(KNOWN).await?;
    let dora = app.join(&owner, "dora@harborandfinch.example", &[SystemRole::Standard]).await?;
    let second = json!({ "name": "Second" });
    assert!(app.mutate(Some(&dora.token), "accountCreate", second, "accountId").await?.codes().is_empty());
    let ask = |member: &Person, new: &str| {
        let input = json!({ "memberId": member.member_id, "newEmail": new });
        body("loginEmailChangeRequest", &input, "member { pendingEmailChange { state } }")
    };
    let token = Some(owner.token.as_str());
    let pairs = if std::env::var_os("MUSTER_TEST_FULL").is_some() { PAIRS } else { PAIRS / 6 };
    let addresses = [ask(&ben, "cleo@elsewhere.example"), ask(&ben, "carl@elsewhere.example")];
    compare(&app, "login e-mail, by address", token, (pairs, seed), async |_, _| Ok(addresses.clone())).await?;
    let people = [ask(&dora, "d@elsewhere.example"), ask(&ben, "b@elsewhere.example")];
    compare(&app, "login e-mail, by person", token, (pairs, seed), async |_, _| Ok(people.clone())).await?;
    app.close().await;
    Ok(())
}
