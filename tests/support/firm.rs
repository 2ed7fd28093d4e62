//! A firm that was founded as firms are, by a sign-up and its confirmation, and the people it invites.

use domain::actor::{Actor, Assignment, Origin};
use domain::change::{self, Change, Kind};
use domain::error::Result;
use domain::id::{AccountId, InvitationId, MemberId, RoleId, SignUpId};
use domain::infra::config;
use domain::infra::db::Db;
use domain::infra::secret::Purpose;
use domain::invitation::{self, ErrorPolicy, Invite};
use domain::member::{self, Mode, Place, Validity};
use domain::password::Passwords;
use domain::permission::SystemRole;
use domain::session::{self, Client, SignIn};
use domain::sign_up::{self, SignUp};
use futures::future::BoxFuture;
use secrecy::SecretString;

/// Everybody's password here.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Hashes that cost little.
pub(crate) const CHEAP: config::Password = config::Password { memory_kib: 64, passes: 1, concurrency: 4 };

/// Jane Doe signs up for a firm, under her address.
pub(crate) async fn sign_up(db: &Db, email: &str) -> SignUpId {
    let password = SecretString::from(PASSWORD);
    let wanted = SignUp {
        account_name: "Doe & Roe",
        time_zone: None,
        first_name: "Jane",
        last_name: "Doe",
        email,
        password: &password,
        refuse_personal_domains: false,
    };
    sign_up::request(db, &Passwords::new(CHEAP), Origin::system(), wanted).await.unwrap();
    sqlx::query_scalar("SELECT sign_up_id FROM sign_up WHERE email = $1 ORDER BY created_at DESC LIMIT 1")
        .bind(email)
        .fetch_one(&db.pool)
        .await
        .unwrap()
}

/// The token in the mail of a sign-up.
pub(crate) fn sign_up_token(db: &Db, id: SignUpId) -> String {
    db.key.derive(Purpose::SignUp, None, id.0, 1).expose()
}

/// Founds a firm of ten seats; its owner is signed in.
pub(crate) async fn found(db: &Db, email: &str) -> Actor {
    let token = sign_up_token(db, sign_up(db, email).await);
    sign_up::confirm(db, Origin::system(), &token, 10).await.unwrap();
    signed_in(db, email).await
}

/// Signs somebody in.
pub(crate) async fn signed_in(db: &Db, email: &str) -> Actor {
    let password = SecretString::from(PASSWORD);
    let sign_in = SignIn { email, password: &password, account_id: None, client: Client::default() };
    let opened = session::create(db, &Passwords::new(CHEAP), Origin::system(), sign_in).await.unwrap();
    session::authenticate(db, &opened.token.expose(), Origin::system()).await.unwrap().actor
}

/// Does something in the actor's account.
pub(crate) async fn act<F>(db: &Db, actor: &Actor, rule: F) -> Result<()>
where
    F: for<'c> Fn(&'c mut Change, &'c Actor) -> BoxFuture<'c, Result<()>> + Sync,
{
    change::run(db, actor, Kind::Asked, None, rule).await.map(|done| done.outcome)
}

/// Sets which roles a member has in the whole account.
pub(crate) async fn set_roles(change: &mut Change, actor: &Actor, member: MemberId, roles: &[RoleId]) -> Result<()> {
    let wanted: Vec<Assignment> = roles.iter().copied().map(Assignment::wide).collect();
    member::assign_roles(change, actor, &[member], (Mode::Set, &wanted), ErrorPolicy::AllOrNothing).await.map(|_| ())
}

/// Invites Ann, with a mail.
pub(crate) async fn invite(db: &Db, actor: &Actor, email: &str, role: SystemRole) -> InvitationId {
    let invite = Invite {
        wishes: Vec::new(),
        email: email.to_owned(),
        first_name: Some("Ann".to_owned()),
        last_name: Some("Lee".to_owned()),
        message: Some("Welcome!\nSee you on Monday.".to_owned()),
        subscription_type: None,
        place: Place::with_roles([role.id()]),
        validity: Validity::default(),
    };
    let invited = change::run(db, actor, Kind::Asked, None, |change, actor| {
        let invites = [invite.clone()];
        Box::pin(async move { invitation::invite(change, actor, &invites, true, ErrorPolicy::AllOrNothing).await })
    });
    invited.await.unwrap().outcome.invitations[0]
}

/// The token in the newest mail of an invitation.
pub(crate) async fn invitation_token(db: &Db, account: AccountId, id: InvitationId) -> String {
    let generation: i32 = sqlx::query_scalar("SELECT generation FROM invitation WHERE invitation_id = $1")
        .bind(id)
        .fetch_one(&db.pool)
        .await
        .unwrap();
    db.key.derive(Purpose::Invitation, Some(account), id.0, generation).expose()
}
