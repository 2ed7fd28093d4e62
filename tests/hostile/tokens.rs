//! Tokens that are none, or of something else, wherever a token is taken.

use anyhow::Result;
use domain::id::AccountId;
use domain::infra::secret::{Purpose, Token, TokenKey};
use domain::permission::SystemRole;
use serde_json::{Value, json};

use super::{Random, seed};
use crate::support::app::{App, Options, PASSWORD, Person, REQUEST_ID};
use crate::support::socket::Socket;

const LOOK: &str = "query ($token: String!) { invitationByToken(token: $token) { invitation { email } userErrors { code field message } } }";
/// The same for all requests, so that answers can be compared in bytes.
const ID: (&str, &str) = ("x-request-id", REQUEST_ID);

/// What a value that is no text is answered with.
const REFUSED: [&str; 2] = ["BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"];

/// Where a token is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Bearer,
    Cookie,
    Look,
    Accept,
    Decline,
    SignUp,
    Reset,
    Upload,
    InvitationPage,
    DeclinePage,
    SignUpPage,
    ResetPage,
    Socket,
}

use Place::{
    Accept, Bearer, Cookie, Decline, DeclinePage, InvitationPage, Look, Reset, ResetPage, SignUp, SignUpPage, Upload,
};

const PLACES: [Place; 13] = [
    Bearer,
    Cookie,
    Look,
    Accept,
    Decline,
    SignUp,
    Reset,
    Upload,
    InvitationPage,
    DeclinePage,
    SignUpPage,
    ResetPage,
    Place::Socket,
];

impl Place {
    /// The prefix of the tokens that belong here.
    fn prefix(self) -> &'static str {
        match self {
            Bearer | Cookie | Self::Socket => "mses.",
            Look | Accept | Decline | InvitationPage | DeclinePage => "minv.",
            SignUp | SignUpPage => "msup.",
            Reset | ResetPage => "mpwr.",
            Upload => "mupl.",
        }
    }

    /// Shows a token. Answers the status and the body, or the code a socket was closed with.
    async fn show(self, app: &App, token: &str) -> Result<(u16, String)> {
        let own = [("origin", app.url.as_str()), ("x-muster-csrf", "1")];
        let mutation = |name: &str, input: Value| {
            let kind = format!("{}{}Input", name[..1].to_uppercase(), &name[1..]);
            let query = format!(
                "mutation ($input: {kind}!) {{ {name}(input: $input) {{ userErrors {{ code field message }} }} }}"
            );
            json!({ "query": query, "variables": { "input": input } })
        };
        let viewer = json!({ "query": "{ viewer { permissions } }" });
        let accept = json!({ "token": token, "firstName": "Ben", "lastName": "Brandt", "password": PASSWORD });
        let only = json!({ "token": token });
        let graphql = |body: Value| app.http.post(format!("{}/graphql", app.url)).json(&body);
        let path = |start: &str, end: &str| format!("{}{start}{}{end}", app.url, escaped(token));
        let form = [("password", PASSWORD), ("passwordAgain", PASSWORD), ("firstName", "B"), ("lastName", "B")];
        let request = match self {
            Bearer => graphql(viewer).header("authorization", format!("Bearer {token}")),
            Cookie => {
                let request = graphql(viewer).header("cookie", format!("muster_session={token}"));
                own.iter().fold(request, |request, (name, value)| request.header(*name, *value))
            }
            Look => graphql(json!({ "query": LOOK, "variables": only })),
            Accept => graphql(mutation("invitationAccept", accept)),
            Decline => graphql(mutation("invitationDecline", only)),
            SignUp => graphql(mutation("signUpConfirm", only)),
            Reset => graphql(mutation("passwordReset", json!({ "token": token, "password": PASSWORD }))),
            Upload => app.http.put(path("/uploads/", "")).body("email\n"),
            InvitationPage => app.http.get(path("/invitation/", "")),
            DeclinePage => app.http.post(path("/invitation/", "/decline")).form(&form[..0]),
            SignUpPage => app.http.get(path("/sign-up/", "")),
            ResetPage => app.http.post(path("/password-reset/", "")).form(&form[..2]),
            Self::Socket => {
                let mut socket = Socket::open(&app.url, &[]).await?;
                socket.init(json!({ "authorization": format!("Bearer {token}") })).await?;
                return Ok((socket.closed().await?, String::new()));
            }
        };
        let response = request.header(ID.0, ID.1).send().await?;
        let status = response.status().as_u16();
        // A form names its own address.
        Ok((status, response.text().await?.replace(&format!("/{}\"", escaped(token)), "/TOKEN\"")))
    }
}

fn escaped(token: &str) -> String {
    token
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b".-_".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// A firm with a live token of every purpose, session first.
async fn world() -> Result<(App, Person, Vec<String>)> {
    let configure = |config: &mut domain::infra::config::Config| config.limits.rate_limits = false;
    let app = App::with(Options { configure, ..Options::default() }).await?;
    let owner = app.found("olivia@harborandfinch.example", 5).await?;
    app.invite(&owner, "ben@work.example", &[SystemRole::Standard]).await?;
    let invitation = app.letter("ben@work.example").await?.token();
    let input = json!({ "accountName": "New & Co", "firstName": "Nora", "lastName": "New",
                        "email": "nora@new.example", "password": PASSWORD });
    app.mutate(None, "signUp", input, "accepted").await?;
    let sign_up = app.letter("nora@new.example").await?.token();
    app.mutate(None, "passwordResetRequest", json!({ "email": owner.email }), "accepted").await?;
    let reset = app.letter(&owner.email).await?.token();
    let made = app.mutate(Some(&owner.token), "uploadCreate", json!({ "fileName": "a.csv" }), "upload { url }").await?;
    let url = made.text("/uploadCreate/upload/url");
    assert!(url.starts_with(&format!("{}/uploads/mupl.", app.url)), "{url}");
    let upload = url.rsplit('/').next().unwrap_or_default().to_owned();
    let tokens = vec![owner.token.clone(), invitation, sign_up, reset, upload];
    Ok((app, owner, tokens))
}

/// Tokens of every purpose that never were, in the right form: another key's, another account's, another generation's.
fn foreign(account: AccountId) -> Vec<String> {
    let id = uuid::Uuid::now_v7();
    let mut tokens = Vec::new();
    for purpose in [
        Purpose::Session,
        Purpose::Invitation,
        Purpose::SignUp,
        Purpose::PasswordReset,
        Purpose::LoginEmailConfirm,
        Purpose::LoginEmailApprove,
        Purpose::LoginEmailRevert,
        Purpose::Upload,
    ] {
        for account in [None, Some(account), Some(AccountId::new())] {
            let another = TokenKey::new(1, [9; 32]).derive(purpose, account, id, 1);
            tokens.extend([another.expose(), Token::random(purpose, account).expose()]);
        }
    }
    tokens
}

/// Everything that is no live token although it may look like one.
fn dead(live: &[String], account: AccountId) -> Vec<String> {
    let mut tokens = foreign(account);
    for token in live {
        let (head, secret) = token.rsplit_once('.').expect("a token has parts");
        tokens.extend([
            token[..token.len() - 1].to_owned(),
            token[1..].to_owned(),
            format!("{token}A"),
            format!("{token}="),
            format!("{token}."),
            format!("{token}.{secret}"),
            token.to_uppercase(),
            token.to_lowercase(),
            head.to_owned(),
            secret.to_owned(),
            format!("{head}.{}", "A".repeat(secret.len())),
            format!("{head}.{}", secret.replace(['-', '_'], "/")),
            format!("{head}.").replace('.', ".."),
        ]);
        // The id of the account in another spelling.
        if let Some((prefix, id)) = head.split_once('.') {
            tokens.push(format!("{prefix}.{}.{secret}", id.to_uppercase()));
            tokens.push(format!("{prefix}.{}.{secret}", account_with_dashes(id)));
        }
    }
    tokens.extend(
        ["x", "null", "undefined", "0", "mses", "'; DROP TABLE session --", "../../etc/passwd"].map(str::to_owned),
    );
    tokens.retain(|token| !live.contains(token));
    tokens
}

fn account_with_dashes(id: &str) -> String {
    uuid::Uuid::try_parse(id).map_or_else(|_| id.to_owned(), |id| id.hyphenated().to_string())
}

/// Whatever a token could have changed.
async fn state(app: &App) -> Result<Option<String>> {
    app.look(
        "SELECT concat((SELECT string_agg(i::text, ',') FROM invitation i), (SELECT string_agg(s::text, ',') FROM sign_up s),
                       (SELECT string_agg(r::text, ',') FROM password_reset r), (SELECT string_agg(u::text, ',') FROM upload u),
                       (SELECT string_agg(m::text, ',' ORDER BY member_id) FROM member m), (SELECT count(*) FROM session),
                       (SELECT count(*) FROM event), (SELECT count(*) FROM outbox))",
    )
    .await
}

#[tokio::test]
async fn whoever_has_no_live_token_of_a_kind_is_answered_alike_everywhere() -> Result<()> {
    let (app, owner, live) = world().await?;
    let account: AccountId = owner.account_id.parse()?;
    let before = state(&app).await?;
    let (dead, mut faults) = (dead(&live, account), Vec::new());
    for place in PLACES {
        let usual = place.show(&app, "nonsense").await?;
        assert!(usual.0 < 500 || place == Place::Socket, "{place:?}: {usual:?}");
        let of_others = live.iter().filter(|token| !token.starts_with(place.prefix()));
        // A socket each takes its time; what it asks is what the header asks.
        let step = if place == Place::Socket { 9 } else { 1 };
        for token in dead.iter().chain(of_others).step_by(step) {
            let answer = place.show(&app, token).await?;
            if answer != usual {
                faults.push(format!("{place:?} {token}: {answer:?} instead of {usual:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let asked = Look.show(&app, "nonsense").await?;
    assert!(asked.1.contains("\"TOKEN_INVALID\""), "{asked:?}");
    assert_eq!(Bearer.show(&app, "nonsense").await?.0, 401);
    assert_eq!(Upload.show(&app, "nonsense").await?.0, 404);
    assert_eq!(Place::Socket.show(&app, "nonsense").await?.0, 4403);
    assert_eq!(state(&app).await?, before, "something was consumed");
    // Each still does what it is for.
    for place in [Bearer, Look, Upload, SignUp, Reset, Accept] {
        let token = live.iter().find(|token| token.starts_with(place.prefix())).expect("a token of every purpose");
        let (status, text) = place.show(&app, token).await?;
        assert!(status < 300 && !text.contains("\"code\""), "{place:?}: {status} {text}");
    }
    app.finish().await
}

#[tokio::test]
async fn no_token_with_a_bit_flipped_is_one() -> Result<()> {
    let (app, _, live) = world().await?;
    let before = state(&app).await?;
    let mut random = Random::new(seed("flipped bits"));
    for token in &live {
        let places: Vec<Place> =
            PLACES.into_iter().filter(|place| token.starts_with(place.prefix()) && *place != Place::Socket).collect();
        for index in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[index] ^= 1 << random.below(7);
            let flipped = String::from_utf8(bytes)?;
            let place = places[random.below(places.len())];
            if matches!(place, Bearer | Cookie)
                && flipped.bytes().any(|byte| !byte.is_ascii_graphic() || b",;".contains(&byte))
            {
                continue;
            }
            assert_eq!(place.show(&app, &flipped).await?, place.show(&app, "nonsense").await?, "{place:?} {flipped:?}");
        }
    }
    assert_eq!(state(&app).await?, before);
    app.finish().await
}

#[tokio::test]
async fn missing_and_enormous_tokens_have_a_code() -> Result<()> {
    let (app, _, live) = world().await?;
    let before = state(&app).await?;
    let long = "A".repeat(1_000_000);
    for place in PLACES {
        // A socket of its own says 1009; the limit of a message is tested beside it.
        if place == Place::Socket {
            continue;
        }
        // The server may answer and close before all of it was sent.
        if let Ok((status, text)) = place.show(&app, &long).await {
            assert!([400, 404, 413, 414, 431].contains(&status), "{place:?}: {status} {text}");
        }
        let (status, text) = place.show(&app, "").await?;
        assert!(status < 500 && !text.contains("INTERNAL"), "{place:?}: {status} {text}");
    }
    for (name, rest) in
        [("invitationAccept", ""), ("invitationDecline", ""), ("signUpConfirm", ""), ("passwordReset", "")]
    {
        for token in ["null", "12", "[\"x\"]", "{ x: 1 }", "true"] {
            let document = format!("mutation {{ {name}(input: {{ token: {token} {rest} }}) {{ __typename }} }}");
            let answer = app.graphql(None, &document, Value::Null).await?;
            assert_eq!(answer.errors().len(), 1, "{document}: {}", answer.body);
            assert!(REFUSED.contains(&answer.errors()[0].as_str()), "{document}: {}", answer.body);
        }
    }
    for token in [Value::Null, json!(12), json!([]), json!({ "x": 1 })] {
        let answer = app.graphql(None, LOOK, json!({ "token": token })).await?;
        assert_eq!(answer.errors().len(), 1, "{}", answer.body);
        assert!(REFUSED.contains(&answer.errors()[0].as_str()), "{}", answer.body);
    }
    assert_eq!(state(&app).await?, before);
    assert!(app.graphql(Some(&live[0]), "{ viewer { permissions } }", Value::Null).await?.errors().is_empty());
    app.finish().await
}
