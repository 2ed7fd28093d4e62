//! The hosted pages against a real database, as a browser without scripts uses them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use api::state::State;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::MockConnectInfo;
use axum::http::{HeaderMap, Request, header};
use domain::actor::{Actor, Origin};
use domain::change::{Change, Kind};
use domain::id::InvitationId;
use domain::infra::config::Config;
use domain::invitation::{self, Outcome};
use domain::member;
use domain::permission::SystemRole;
use domain::{password_reset, session};
use jiff::SignedDuration;
use tower::ServiceExt as _;

use super::assert_usable;
use crate::support::database::Database;
use crate::support::firm::{self, PASSWORD, set_roles};

const SITE: &str = "https://muster.example";
const SIGN_IN: &str = "https://app.example.com/sign-in";

/// An answer: status, headers, page.
struct Page {
    status: u16,
    headers: HeaderMap,
    html: String,
}

impl Page {
    fn says(&self, text: &str) -> bool {
        self.html.contains(text)
    }
}

struct Stage {
    database: Database,
    pages: Router,
}

impl Stage {
    async fn new() -> Self {
        let database = Database::new().await;
        let mut config = Config::defaults("postgres://localhost/muster");
        SITE.clone_into(&mut config.http.public_url);
        config.links.sign_in = Some(SIGN_IN.to_owned());
        config.password = firm::CHEAP;
        config.data_dir = std::env::temp_dir().join(format!("muster-pages-{}", uuid::Uuid::new_v4().simple()));
        let files = domain::infra::files::open(&config).unwrap();
        let state = State::new(database.db.clone(), config.into(), files);
        let peer: SocketAddr = "203.0.113.9:4000".parse().unwrap();
        let pages = api::pages::router().with_state(state).layer(MockConnectInfo(peer));
        Self { database, pages }
    }

    fn db(&self) -> &domain::infra::db::Db {
        &self.database.db
    }

    async fn send(&self, request: Request<Body>) -> Page {
        let (head, body) = self.pages.clone().oneshot(request).await.unwrap().into_parts();
        let html = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
        Page { status: head.status.as_u16(), headers: head.headers, html }
    }

    async fn get(&self, path: &str) -> Page {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Posts a form as a browser does from our own page.
    async fn post(&self, path: &str, form: &str) -> Page {
        self.send(post_from(SITE, path, form)).await
    }

    /// An owner, and the pages of an invitation.
    async fn invited(&self, email: &str) -> (Actor, InvitationId, String) {
        let owner = firm::found(self.db(), "jane@firm.example").await;
        let (id, path) = self.invite(&owner, email, SystemRole::Standard).await;
        (owner, id, path)
    }

    async fn invite(&self, actor: &Actor, email: &str, role: SystemRole) -> (InvitationId, String) {
        let id = firm::invite(self.db(), actor, email, role).await;
        let token = firm::invitation_token(self.db(), actor.account_id, id).await;
        (id, format!("/invitation/{token}"))
    }

    async fn seats_in_use(&self, actor: &Actor) -> i32 {
        sqlx::query_scalar("SELECT in_use FROM license_pool WHERE account_id = $1")
            .bind(actor.account_id)
            .fetch_one(&self.db().pool)
            .await
            .unwrap()
    }

    /// The invitation's state and the invited member's status.
    async fn state(&self, id: InvitationId) -> (String, Option<String>) {
        sqlx::query_as(
            "SELECT i.state, m.status FROM invitation i LEFT JOIN member m USING (account_id, member_id)
             WHERE i.invitation_id = $1",
        )
        .bind(id)
        .fetch_one(&self.db().pool)
        .await
        .unwrap()
    }
}

fn post_from(origin: &str, path: &str, form: &str) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", origin)
        .body(Body::from(form.to_owned()))
        .unwrap()
}

fn state(invitation: &str, member: Option<&str>) -> (String, Option<String>) {
    (invitation.to_owned(), member.map(str::to_owned))
}

const NEW: &str = "firstName=Ann&lastName=Lee&password=correct+horse+battery&passwordAgain=correct+horse+battery";

#[tokio::test]
async fn a_new_person_accepts_and_can_sign_in() {
    let stage = Stage::new().await;
    let (owner, id, path) = stage.invited("ann@firm.example").await;
    for _ in 0..2 {
        let shown = stage.get(&path).await;
        assert_eq!(shown.status, 200);
        assert_usable(&shown.html);
        assert!(shown.says("<title>Join Doe &amp; Roe</title>") && shown.says("value=\"Lee\""));
        assert!(shown.says(&format!("action=\"{path}\"")) && shown.says("At least 10 characters."));
    }
    assert_eq!(stage.get(&format!("{path}/decline")).await.status, 200);
    assert_eq!(stage.state(id).await, state("PENDING", Some("INVITED")), "looking answers nothing");

    let accepted = stage.post(&path, NEW).await;
    assert_eq!(accepted.status, 200, "{}", accepted.html);
    assert!(accepted.says("Welcome to Doe &amp; Roe") && accepted.says(&format!("href=\"{SIGN_IN}\"")));
    assert!(accepted.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert_eq!(accepted.headers["cache-control"], "no-store");
    assert_eq!(stage.state(id).await, state("ACCEPTED", Some("ACTIVE")));
    assert_eq!(stage.seats_in_use(&owner).await, 2);
    assert_eq!(firm::signed_in(stage.db(), "ann@firm.example").await.account_id, owner.account_id);
    let seen: String = sqlx::query_scalar(
        "SELECT p.body->>'networkAddress' FROM event e JOIN event_personal p USING (account_id, event_id)
         WHERE e.kind = 'invitation.accepted'",
    )
    .fetch_one(&stage.db().pool)
    .await
    .unwrap();
    assert_eq!(seen, "203.0.113.9");

    for (page, status) in [(stage.get(&path).await, 410), (stage.post(&path, NEW).await, 410)] {
        assert_eq!(page.status, status);
        assert!(page.says("This invitation has been accepted"));
    }
}

#[tokio::test]
async fn what_is_wrong_stands_at_its_field_and_passwords_are_not_shown_again() {
    let stage = Stage::new().await;
    let (_, id, path) = stage.invited("ann@firm.example").await;
    let faulty = stage.post(&path, "firstName=&lastName=&password=shorty77&passwordAgain=shorty77").await;
    assert_eq!(faulty.status, 422);
    assert_usable(&faulty.html);
    assert!(faulty.says("<a href=\"#firstName\">") && faulty.says("<a href=\"#lastName\">"), "{}", faulty.html);

    let short = stage.post(&path, "firstName=A&lastName=B&password=shorty77&passwordAgain=shorty77").await;
    assert!(short.status == 422 && short.says("<a href=\"#password\">A password has at least 10 characters.</a>"));
    assert!(!short.says("shorty77") && short.says("value=\"A\""));

    let differing = stage.post(&path, &NEW.replace("Again=correct", "Again=wrong")).await;
    assert!(differing.status == 422 && differing.says("<a href=\"#passwordAgain\">The passwords differ."));
    assert_usable(&differing.html);
    assert_eq!(stage.post(&path, "").await.status, 422);
    assert_eq!(stage.state(id).await, state("PENDING", Some("INVITED")));
}

#[tokio::test]
async fn a_person_with_a_login_gives_its_password() {
    let stage = Stage::new().await;
    firm::found(stage.db(), "ann@firm.example").await;
    let (_, id, path) = stage.invited("ann@firm.example").await;
    let shown = stage.get(&path).await;
    assert!(shown.says("use the password you have") && !shown.says("passwordAgain") && !shown.says("firstName"));
    let wrong = stage.post(&path, "password=wrong+horse+battery").await;
    assert!(wrong.status == 422 && wrong.says("<a href=\"#password\">The address or the password is wrong.</a>"));
    let none = stage.post(&path, "password=").await;
    assert!(none.status == 422 && none.says("Give its password."));
    assert_eq!(stage.state(id).await, state("PENDING", Some("INVITED")));
    assert_eq!(stage.post(&path, &format!("password={}", PASSWORD.replace(' ', "+"))).await.status, 200);
    assert_eq!(stage.state(id).await, state("ACCEPTED", Some("ACTIVE")));
}

#[tokio::test]
async fn a_known_person_is_asked_for_the_name_that_the_inviter_left_out() {
    let stage = Stage::new().await;
    firm::found(stage.db(), "ann@firm.example").await;
    let (_, id, path) = stage.invited("ann@firm.example").await;
    sqlx::query("UPDATE invitation SET last_name = NULL").execute(&stage.db().pool).await.unwrap();
    let password = PASSWORD.replace(' ', "+");
    let missing = stage.post(&path, &format!("lastName=&password={password}")).await;
    assert!(missing.status == 422 && missing.says("<a href=\"#lastName\">"), "{}", missing.html);
    assert_usable(&missing.html);
    assert_eq!(stage.post(&path, &format!("lastName=Lee&password={password}")).await.status, 200);
    assert_eq!(stage.state(id).await, state("ACCEPTED", Some("ACTIVE")));
}

#[tokio::test]
async fn of_two_at_once_one_joins() {
    let stage = Stage::new().await;
    let (owner, id, path) = stage.invited("ann@firm.example").await;
    let posts = (0..6).map(|_| stage.post(&path, NEW));
    let mut statuses: Vec<u16> = futures::future::join_all(posts).await.into_iter().map(|page| page.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410, 410, 410, 410, 410]);
    assert_eq!(stage.state(id).await, state("ACCEPTED", Some("ACTIVE")));
    assert_eq!(stage.seats_in_use(&owner).await, 2);
}

#[tokio::test]
async fn saying_yes_and_no_at_once_is_one_answer() {
    let stage = Stage::new().await;
    let (owner, id, path) = stage.invited("ann@firm.example").await;
    let decline = format!("{path}/decline");
    let (yes, no) = tokio::join!(stage.post(&path, NEW), stage.post(&decline, ""));
    let answers = (yes.status, no.status, stage.state(id).await.0, stage.seats_in_use(&owner).await);
    let joined = (200, 410, "ACCEPTED".to_owned(), 2);
    let declined = (410, 200, "DECLINED".to_owned(), 1);
    assert!(answers == joined || answers == declined, "{answers:?}");
}

#[tokio::test]
async fn declining_is_asked_and_frees_the_seat() {
    let stage = Stage::new().await;
    let (owner, id, path) = stage.invited("ann@firm.example").await;
    let asked = stage.get(&format!("{path}/decline")).await;
    assert_usable(&asked.html);
    assert!(asked.status == 200 && asked.says("Decline the invitation?") && asked.says(&format!("href=\"{path}\"")));
    assert_eq!(stage.seats_in_use(&owner).await, 2);
    let declined = stage.post(&format!("{path}/decline"), "").await;
    assert!(declined.status == 200 && declined.says("You have not joined"));
    assert_eq!((stage.state(id).await, stage.seats_in_use(&owner).await), (state("DECLINED", None), 1));
    for page in [stage.get(&path).await, stage.post(&path, NEW).await, stage.post(&format!("{path}/decline"), "").await]
    {
        assert!(page.status == 410 && page.says("This invitation has been declined"), "{}", page.html);
    }
}

#[tokio::test]
async fn a_link_that_is_over_says_why() {
    let stage = Stage::new().await;
    let (owner, revoked, path) = stage.invited("ann@firm.example").await;
    let act = firm::act(stage.db(), &owner, |change, actor| Box::pin(invitation::revoke(change, actor, revoked)));
    act.await.unwrap();
    let page = stage.post(&path, NEW).await;
    assert!(page.status == 410 && page.says("has been taken back"), "{}", page.html);

    let (suspended, path) = stage.invite(&owner, "bob@firm.example", SystemRole::Standard).await;
    let member = sqlx::query_scalar("SELECT member_id FROM invitation WHERE invitation_id = $1").bind(suspended);
    let member = member.fetch_one(&stage.db().pool).await.unwrap();
    let act = firm::act(stage.db(), &owner, |change, actor| Box::pin(member::suspend(change, actor, member)));
    act.await.unwrap();
    for page in [stage.get(&path).await, stage.post(&path, NEW).await, stage.post(&format!("{path}/decline"), "").await]
    {
        assert!(page.status == 403 && page.says("This invitation is on hold"), "{}", page.html);
    }

    let (expired, path) = stage.invite(&owner, "eve@firm.example", SystemRole::Standard).await;
    let mut change = Change::begin(stage.db(), owner.account_id, Kind::System, Origin::system(), None).await.unwrap();
    let accepted = Outcome::Accepted { reply: "250 Ok".to_owned() };
    invitation::record_delivery(&mut change, expired, 1, &accepted).await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(stage.get(&path).await.status, 200);
    stage.db().clock.advance(SignedDuration::from_hours(24));
    for page in [stage.get(&path).await, stage.post(&path, NEW).await] {
        assert!(page.status == 410 && page.says("This invitation has expired"), "{}", page.html);
    }

    for unknown in ["x".to_owned(), path.replace("/invitation/", "")[..50].to_owned(), "%22%3E%3Cscript%3E".to_owned()]
    {
        let page = stage.get(&format!("/invitation/{unknown}")).await;
        assert!(page.status == 404 && !page.says("<script"), "{}", page.html);
    }
}

#[tokio::test]
async fn a_demotion_between_the_check_and_the_commit_is_noticed() {
    let stage = Stage::new().await;
    let (owner, _, path) = stage.invited("bob@firm.example").await;
    assert_eq!(stage.post(&path, NEW).await.status, 200);
    let bob = firm::signed_in(stage.db(), "bob@firm.example").await.member_id;
    let assign = |role: SystemRole| {
        firm::act(stage.db(), &owner, move |change, actor| {
            Box::pin(async move { set_roles(change, actor, bob, &[role.id()]).await })
        })
    };
    assign(SystemRole::Administrator).await.unwrap();
    let bob = firm::signed_in(stage.db(), "bob@firm.example").await;
    let (id, path) = stage.invite(&bob, "ann@firm.example", SystemRole::Administrator).await;

    // Whoever accepts waits for this row after having looked at Bob's rights.
    let mut held = stage.db().pool.begin().await.unwrap();
    sqlx::query("SELECT FROM invitation WHERE invitation_id = $1 FOR UPDATE")
        .bind(id)
        .execute(&mut *held)
        .await
        .unwrap();
    let demotion = async {
        let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                       WHERE NOT granted AND datname = current_database()";
        let patience = Instant::now() + Duration::from_secs(20);
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&stage.db().pool).await.unwrap() == 0 {
            assert!(Instant::now() < patience, "nobody waits for the invitation");
            tokio::task::yield_now().await;
        }
        assign(SystemRole::Standard).await.unwrap();
        held.rollback().await.unwrap();
    };
    let (page, ()) = tokio::join!(stage.post(&path, NEW), demotion);
    assert!(page.status == 422 && page.says("may no longer grant these roles"), "{}", page.html);
    assert_usable(&page.html);
    assert_eq!(stage.state(id).await, state("PENDING", Some("INVITED")));
}

#[tokio::test]
async fn forms_of_other_sites_and_of_other_shapes_do_nothing() {
    let stage = Stage::new().await;
    let (_, id, path) = stage.invited("ann@firm.example").await;
    for origin in ["https://evil.example", "null", "http://muster.example"] {
        for path in [path.clone(), format!("{path}/decline")] {
            let page = stage.send(post_from(origin, &path, NEW)).await;
            assert!(page.status == 403 && page.says("sent by another site"), "{origin}");
        }
    }
    let mut unnamed = post_from("x", &path, NEW);
    unnamed.headers_mut().remove("origin");
    unnamed.headers_mut().insert("sec-fetch-site", header::HeaderValue::from_static("cross-site"));
    assert_eq!(stage.send(unnamed).await.status, 403);

    let long = stage.post(&path, &format!("{NEW}&x={}", "y".repeat(8192))).await;
    assert!(long.status == 413 && long.says("too much text"));
    let json = Request::post(&path).header("content-type", "application/json").body(Body::from("{}")).unwrap();
    assert_eq!(stage.send(json).await.status, 415);
    assert_eq!(stage.send(Request::put(&path).body(Body::empty()).unwrap()).await.status, 405);
    assert_eq!(stage.state(id).await, state("PENDING", Some("INVITED")));
}

#[tokio::test]
async fn too_many_tries_are_told_when_to_come_back() {
    let stage = Stage::new().await;
    firm::found(stage.db(), "ann@firm.example").await;
    let (.., path) = stage.invited("ann@firm.example").await;
    let mut last = stage.post(&path, "password=wrong+horse+battery").await;
    for _ in 0..10 {
        last = stage.post(&path, "password=wrong+horse+battery").await;
    }
    assert_eq!(last.status, 429);
    assert!(last.says("Too many tries. Try again at ") && last.says(" UTC.</a>"), "{}", last.html);
    assert!(last.headers["retry-after"].to_str().unwrap().ends_with(" GMT"));
}

#[tokio::test]
async fn a_database_that_is_away_gives_nothing_away() {
    let stage = Stage::new().await;
    let (.., path) = stage.invited("ann@firm.example").await;
    stage.db().pool.close().await;
    for page in [stage.get(&path).await, stage.post(&path, NEW).await] {
        assert_eq!((page.status, &page.headers["retry-after"]), (503, &header::HeaderValue::from_static("5")));
        assert_usable(&page.html);
        assert!(page.says("the link still works") && !page.html.to_lowercase().contains("pool"), "{}", page.html);
    }
}

#[tokio::test]
async fn a_sign_up_is_confirmed_once() {
    let stage = Stage::new().await;
    let token = firm::sign_up_token(stage.db(), firm::sign_up(stage.db(), "jane@firm.example").await);
    let path = format!("/sign-up/{token}");
    let shown = stage.get(&path).await;
    assert_usable(&shown.html);
    assert!(shown.status == 200 && shown.says("<bdi>jane@firm.example</bdi>") && shown.says("Doe &amp; Roe"));
    assert_eq!(stage.send(post_from("https://evil.example", &path, "")).await.status, 403);
    let confirmed = stage.post(&path, "").await;
    assert!(confirmed.status == 200 && confirmed.says("Doe &amp; Roe is set up") && confirmed.says(SIGN_IN));
    let owner = firm::signed_in(stage.db(), "jane@firm.example").await;
    let granted: i32 = sqlx::query_scalar("SELECT granted FROM license_pool WHERE account_id = $1")
        .bind(owner.account_id)
        .fetch_one(&stage.db().pool)
        .await
        .unwrap();
    assert_eq!(granted, 3, "as the settings say");
    for page in [stage.get(&path).await, stage.post(&path, "").await, stage.get("/sign-up/x").await] {
        assert!(page.status == 410 && page.says("This link does not work any more"));
    }

    let second = firm::sign_up_token(stage.db(), firm::sign_up(stage.db(), "jane@firm.example").await);
    let refused = stage.post(&format!("/sign-up/{second}"), "").await;
    assert!(refused.status == 422 && refused.says("<li>This address has a login already."), "{}", refused.html);
}

#[tokio::test]
async fn a_password_is_reset_once_and_ends_the_sessions() {
    let stage = Stage::new().await;
    let owner = firm::found(stage.db(), "jane@firm.example").await;
    password_reset::request(stage.db(), Origin::system(), "jane@firm.example").await.unwrap();
    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT password_reset_id FROM password_reset").fetch_one(&stage.db().pool).await.unwrap();
    let token = stage.db().key.derive(domain::infra::secret::Purpose::PasswordReset, None, id, 1).expose();
    let path = format!("/password-reset/{token}");
    for _ in 0..2 {
        let shown = stage.get(&path).await;
        assert_usable(&shown.html);
        assert!(shown.status == 200 && shown.says("value=\"jane@firm.example\""));
    }
    let weak = stage.post(&path, "password=jane%40firm.example&passwordAgain=jane%40firm.example").await;
    assert!(weak.status == 422 && weak.says("too easy to guess"), "{}", weak.html);
    let differing = stage.post(&path, "password=another+horse+battery&passwordAgain=x").await;
    assert!(differing.status == 422 && differing.says("<a href=\"#passwordAgain\">"));
    let new = "password=another+horse+battery&passwordAgain=another+horse+battery";
    let done = stage.post(&path, new).await;
    assert!(done.status == 200 && done.says("Your password is changed") && done.says(SIGN_IN));
    assert!(session::of_member(stage.db(), &owner).await.unwrap().is_empty());
    for page in [stage.get(&path).await, stage.post(&path, new).await] {
        assert!(page.status == 410 && page.says("This link does not work any more"));
    }
}

#[tokio::test]
async fn the_root_says_what_this_is_and_where_to_sign_in() {
    let stage = Stage::new().await;
    let page = stage.get("/").await;
    assert_eq!(page.status, 200);
    assert_usable(&page.html);
    assert!(page.says("This is the API of Muster.") && page.says(&format!("href=\"{SIGN_IN}\"")), "{}", page.html);
    assert!(!page.says("graphiql"), "it is not for whoever comes from elsewhere");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
}
