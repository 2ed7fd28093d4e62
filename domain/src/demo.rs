//! Demo data: a law firm with people in every status, and a second account that shares its owner. It comes about through the
//! rules, as it would in life, on a clock that begins ninety days ago.

mod past;
mod people;

use secrecy::SecretString;
use sqlx::PgConnection;

use crate::across;
use crate::actor::Origin;
use crate::change::{Change, Kind};
use crate::error::{Error, Result};
use crate::id::AccountId;
use crate::infra::db::Db;
use crate::infra::secret::Token;
use crate::password::Passwords;
use crate::permission::SystemRole;
use crate::session::{self, Client, SignIn};
use people::{CONSULTING, FIRM, Fate, Person, address};

/// The password of every demo login.
pub const PASSWORD: &str = "correct horse battery";

/// The law firm's name.
pub const FIRM_NAME: &str = "Harbor & Finch LLP";

/// The second account's name.
pub const CONSULTING_NAME: &str = "Finch Consulting";

/// What the firm's addresses end with, before the top-level domain.
const FIRM_DOMAIN: &str = "harborfinch";
const CONSULTING_DOMAIN: &str = "finchconsulting";

/// What sessions that are opened for the demo owner call themselves.
const USER_AGENT: &str = "muster seed";

/// Held while demo data is looked for and written; `musterde` in ASCII.
const LOCK: i64 = 0x6d75_7374_6572_6465;

/// The two accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demo {
    /// The law firm.
    pub firm: AccountId,
    /// The second account.
    pub consulting: AccountId,
}

/// Why there is no demo data.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The database is in use for something else.
    #[error(
        "the database has accounts already, and demo logins have a well-known password: use another database, or --force"
    )]
    OtherAccounts,
    /// An earlier attempt did not come to its end.
    #[error("the demo data is incomplete, because an earlier seed was cut short: start over with an empty database")]
    Incomplete,
    /// A rule refused something, or the database failed.
    #[error(transparent)]
    Rule(#[from] Error),
}

impl From<sqlx::Error> for SeedError {
    fn from(error: sqlx::Error) -> Self {
        Self::Rule(error.into())
    }
}

/// Waits until nobody else writes demo data, for as long as the connection is open.
pub async fn lock(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(conn).await?;
    Ok(())
}

/// Writes the demo data, unless it is there. A database with other accounts is refused unless `force`.
pub async fn seed(db: &Db, passwords: &Passwords, force: bool) -> Result<Demo, SeedError> {
    let mut conn = db.pool.acquire().await?;
    if let Some(firm) = across::oldest_account_of(&mut conn, &owner_email()).await? {
        return find_rest(&mut conn, firm).await;
    }
    if !force && across::has_accounts(&mut conn).await? {
        return Err(SeedError::OtherAccounts);
    }
    drop(conn);
    Ok(past::write(db, passwords).await?)
}

/// The second account comes last, and its guest last of all.
async fn find_rest(conn: &mut PgConnection, firm: AccountId) -> Result<Demo, SeedError> {
    let consulting = across::oldest_account_of(conn, &address(&CONSULTING[0], CONSULTING_DOMAIN)).await?;
    let consulting = consulting.ok_or(SeedError::Incomplete)?;
    let shares = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM member WHERE account_id = $1 AND email = $2) AS "shares!""#,
        consulting.0,
        owner_email(),
    )
    .fetch_one(conn)
    .await?;
    if shares { Ok(Demo { firm, consulting }) } else { Err(SeedError::Incomplete) }
}

/// The address of the firm's owner.
pub fn owner_email() -> String {
    address(&FIRM[0], FIRM_DOMAIN)
}

/// Somebody to sign in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Why one would.
    pub role: String,
    /// Address.
    pub email: String,
}

/// Logins that show the most: of the firm the owner, one of each role and one who is shut out, and the second account's owner.
pub fn logins() -> Vec<Login> {
    let login = |role: String, person: &Person, domain| Login { role, email: address(person, domain) };
    let mut logins = vec![login(format!("Owner of {FIRM_NAME}"), &FIRM[0], FIRM_DOMAIN)];
    for role in SystemRole::ALL {
        let first = FIRM.iter().find(|person| person.5 == role && person.6 == Fate::Active);
        logins.extend(first.map(|person| login(role.name().to_owned(), person, FIRM_DOMAIN)));
    }
    let suspended = FIRM.iter().find(|person| person.6 == Fate::Suspended);
    logins.extend(suspended.map(|person| login("Suspended".to_owned(), person, FIRM_DOMAIN)));
    logins.push(login(format!("Owner of {CONSULTING_NAME}"), &CONSULTING[0], CONSULTING_DOMAIN));
    logins
}

/// Signs the firm's owner in and ends the sessions that earlier calls opened.
pub async fn open_session(db: &Db, passwords: &Passwords, demo: Demo) -> Result<Token> {
    let password = SecretString::from(PASSWORD);
    let client = Client { cookie: false, user_agent: Some(USER_AGENT.to_owned()) };
    let email = owner_email();
    let sign_in = SignIn { email: &email, password: &password, account_id: Some(demo.firm), client };
    let opened = session::create(db, passwords, Origin::system(), sign_in).await?;
    let actor = session::authenticate(db, &opened.token.expose(), Origin::system()).await?.actor;
    let mut change = Change::begin(db, actor.account_id, Kind::System, actor.origin.clone(), Some(actor.now)).await?;
    for earlier in session::of_member(db, &actor).await? {
        if earlier.session_id != actor.session_id && earlier.user_agent.as_deref() == Some(USER_AGENT) {
            session::revoke(&mut change, &actor, earlier.session_id).await?;
        }
    }
    change.commit().await?;
    Ok(opened.token)
}
