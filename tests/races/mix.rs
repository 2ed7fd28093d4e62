//! Ten seconds of everything at once, through two APIs, while time passes and sweeps run.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use domain::event::seal::seal_due;
use domain::id::AccountId;
use domain::infra::secret::Purpose;
use domain::permission::SystemRole;
use futures::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{check_invariants, was_busy};
use crate::support::app::{App, Options, PASSWORD, Person};
use crate::support::dice::Dice;

/// People who are fought over, for about half as many seats.
const PEOPLE: u64 = 12;
const SEATS: i32 = 8;
const TASKS: u64 = 8;

/// How often what was answered.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<String, u32>>);

impl Tally {
    fn count(&self, mutation: &str, outcome: &str) {
        *self.0.lock().unwrap().entry(format!("{mutation} {outcome}")).or_default() += 1;
    }

    fn of(&self, outcome: &str) -> u32 {
        let all = self.0.lock().unwrap();
        all.iter().filter(|(key, _)| key.ends_with(outcome)).map(|(_, count)| count).sum()
    }
}

/// Somebody's place and open invitation, if any, as of now.
struct Place {
    member: Option<Uuid>,
    invitation: Option<(Uuid, i32)>,
}

async fn place(app: &App, email: &str) -> Result<Place> {
    let member = sqlx::query_scalar("SELECT member_id FROM member WHERE email = $1");
    let invitation =
        sqlx::query_as("SELECT invitation_id, generation FROM invitation WHERE email = $1 AND finished_at IS NULL");
    Ok(Place {
        member: member.bind(email).fetch_optional(&app.db.pool).await?,
        invitation: invitation.bind(email).fetch_optional(&app.db.pool).await?,
    })
}

/// What one step asks for; nothing where there is nobody to do it to.
fn wish(app: &App, owner: &Person, dice: &mut Dice, email: &str, place: &Place) -> Option<(&'static str, bool, Value)> {
    let account: AccountId = owner.account_id.parse().unwrap();
    let member = place.member.map(|id| json!({ "memberId": format!("mem_{}", id.simple()) }));
    let invitation = place.invitation.map(|(id, _)| format!("inv_{}", id.simple()));
    let token = place
        .invitation
        .map(|(id, generation)| app.db.key.derive(Purpose::Invitation, Some(account), id, generation).expose());
    let role = SystemRole::Standard.id().to_string();
    Some(match dice.below(16) {
        0..=3 => {
            let send = dice.below(4) > 0;
            ("memberInvite", true, json!({ "invitations": [{ "email": email, "roleIds": [role] }], "send": send }))
        }
        4..=5 => ("invitationResend", true, json!({ "invitationIds": [invitation?] })),
        6 => ("invitationSend", true, json!({ "invitationIds": [invitation?] })),
        7 => ("invitationRevoke", true, json!({ "invitationId": invitation? })),
        8 => {
            let other = format!("p{}@work.example", dice.below(PEOPLE));
            ("invitationUpdate", true, json!({ "invitationId": invitation?, "email": other }))
        }
        9..=10 => {
            let answer = json!({ "token": token?, "firstName": "Jo", "lastName": "Doe", "password": PASSWORD });
            ("invitationAccept", false, answer)
        }
        11 => ("invitationDecline", false, json!({ "token": token? })),
        12 => ("memberSuspend", true, member?),
        13 => ("memberActivate", true, member?),
        14 => ("memberDeactivate", true, member?),
        _ => ("memberReactivate", true, member?),
    })
}

async fn step(app: &App, url: &str, owner: &Person, dice: &mut Dice, tally: &Tally) -> Result<()> {
    let email = format!("p{}@work.example", dice.below(PEOPLE));
    let place = place(app, &email).await?;
    let Some((mutation, signed_in, input)) = wish(app, owner, dice, &email, &place) else { return Ok(()) };
    let by = signed_in.then_some(owner.token.as_str());
    let answer = app.mutate_at(url, by, mutation, input, "__typename").await?;
    if was_busy(&answer) {
        tally.count(mutation, "SERVICE_UNAVAILABLE");
    } else {
        tally.count(mutation, answer.codes().first().map_or("done", String::as_str));
    }
    Ok(())
}

/// Time passes, and what is due lapses.
async fn time_passes(app: &App, until: Instant) -> Result<i32> {
    let mut lapsed = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
        app.pass(SignedDuration::from_mins(10));
        lapsed += app.sweep("invitations.lapse").await?;
    }
    Ok(lapsed)
}

/// What always holds, holds while all this goes on.
async fn look_on(app: &App, until: Instant) -> Result<u32> {
    let mut looks = 0;
    while Instant::now() < until {
        check_invariants(&app.db.pool).await?;
        seal_due(&app.db.pool).await?;
        looks += 1;
    }
    Ok(looks)
}

#[tokio::test]
async fn ten_seconds_of_everything_at_once_break_nothing() -> Result<()> {
    let seed = std::env::var("MUSTER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::try_from(Uuid::new_v4().as_u128() >> 80).unwrap());
    println!("MUSTER_TEST_SEED={seed}");
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let mut app = App::with(Options { configure, ..Options::default() }).await?;
    let urls = [app.url.clone(), app.replica().await?];
    let owner = app.found("olivia@harborandfinch.example", SEATS).await?;
    let policy = json!({ "invitationLifetimeSeconds": 3600 });
    let shorter = app.mutate(Some(&owner.token), "accountPolicyUpdate", policy, "__typename").await?;
    assert_eq!(shorter.codes(), Vec::<String>::new());

    let tally = Tally::default();
    let seconds = if std::env::var_os("MUSTER_TEST_FULL").is_some() { 120 } else { 10 };
    let until = Instant::now() + Duration::from_secs(seconds);
    let tasks = (0..TASKS).map(|number| {
        let (app, owner, tally, url) = (&app, &owner, &tally, &urls[usize::try_from(number % 2).unwrap()]);
        let mut dice = Dice(seed.wrapping_add(number));
        async move {
            while Instant::now() < until {
                step(app, url, owner, &mut dice, tally).await.unwrap();
            }
        }
    });
    let (_, lapsed, looks) =
        futures::future::join3(join_all(tasks), time_passes(&app, until), Box::pin(look_on(&app, until))).await;
    let (lapsed, looks) = (lapsed?, looks?);
    for (what, count) in tally.0.lock().unwrap().iter() {
        println!("{count:6} {what}");
    }
    println!(
        "{:6} done, {} busy, {lapsed} lapsed by the sweep, {looks} looks at all rules",
        tally.of("done"),
        tally.of("SERVICE_UNAVAILABLE")
    );
    assert!(tally.of("done") > 0);
    check_invariants(&app.db.pool).await?;
    app.finish().await
}
