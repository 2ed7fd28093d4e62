//! What happened in the demo accounts, in the order it happened.

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use jiff::SignedDuration;
use secrecy::SecretString;

use super::people::{CONSULTING, FIRM, Fate, Person, address, profile};
use super::{CONSULTING_DOMAIN, CONSULTING_NAME, Demo, FIRM_DOMAIN, FIRM_NAME, PASSWORD};
use crate::account::{self, Founding};
use crate::actor::{Actor, Author, Origin};
use crate::change::{Change, Kind};
use crate::error::Result;
use crate::id::{AccountId, InvitationId, MemberId};
use crate::infra::clock::Clock;
use crate::infra::db::Db;
use crate::infra::email_address::EmailAddress;
use crate::infra::secret::Purpose;
use crate::invitation::{self, Acceptance, FIRST_GENERATION, NewInvitation, Outcome};
use crate::license::{self, Wanted};
use crate::member;
use crate::password::Passwords;
use crate::permission::SystemRole;
use crate::profile::{Profile, SubscriptionType};
use crate::session::{self, Client, SignIn};
use crate::user;

/// Hours in a day.
const DAY: i64 = 24;

/// People who accept at once.
const AT_ONCE: usize = 3;

/// Writes both accounts.
pub(super) async fn write(db: &Db, passwords: &Passwords) -> Result<Demo> {
    // Limits on quantity are for now, not for a quarter of a year in a second.
    let mut db = db.clone();
    db.clock = Clock::movable();
    db.rate_limits = false;
    let mut past = Past { db, passwords: passwords.clone(), hours_ago: 0 };
    let firm = past.firm().await?;
    let consulting = past.consulting().await?;
    Ok(Demo { firm, consulting })
}

/// Where and when something happens.
struct Past {
    db: Db,
    passwords: Passwords,
    hours_ago: i64,
}

/// An account and who is in it.
struct Place {
    account: AccountId,
    owner: MemberId,
    people: &'static [Person],
    domain: &'static str,
}

/// Somebody who was invited.
struct Guest {
    fate: Fate,
    invitation: InvitationId,
    member: MemberId,
}

/// What became of the mails of invitations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mailed {
    /// None was asked for.
    No,
    /// They wait for the worker.
    Queued,
    /// A mail server took them. The worker finds them done.
    Accepted,
    /// No mail server takes them.
    Deferred,
}

impl Past {
    fn travel_to(&mut self, hours_ago: i64) {
        self.db.clock.advance(SignedDuration::from_hours(self.hours_ago - hours_ago));
        self.hours_ago = hours_ago;
    }

    async fn firm(&mut self) -> Result<AccountId> {
        self.travel_to(90 * DAY);
        let firm = self.found(FIRM_NAME, FIRM, FIRM_DOMAIN, 200).await?;
        self.travel_to(60 * DAY);
        let staff = self.invite(&firm, &[Fate::Active, Fate::Suspended, Fate::Deactivated], Mailed::Accepted).await?;
        self.travel_to(60 * DAY - 3);
        self.accept(&firm, &staff).await?;
        self.lose_invitations(&firm).await?;
        self.shut_out(&firm, &staff).await?;
        self.newcomers(&firm).await?;
        Ok(firm.account)
    }

    async fn lose_invitations(&mut self, firm: &Place) -> Result<()> {
        self.travel_to(14 * DAY);
        self.invite(firm, &[Fate::Lapsed], Mailed::Accepted).await?;
        self.invite(firm, &[Fate::Undeliverable], Mailed::Deferred).await?;
        let declined = self.invite(firm, &[Fate::Declined], Mailed::Accepted).await?;
        let revoked = self.invite(firm, &[Fate::Revoked], Mailed::Accepted).await?;
        self.travel_to(14 * DAY - 5);
        for guest in &declined {
            invitation::decline(&self.db, Origin::system(), &self.link(firm, guest)).await?;
        }
        self.as_owner(firm, |change, actor| {
            async move {
                for guest in revoked {
                    invitation::revoke(change, actor, guest.invitation).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await?;
        self.travel_to(10 * DAY);
        let mut change = Change::begin(&self.db, firm.account, Kind::System, Origin::system(), None).await?;
        invitation::lapse_account(&mut change).await?;
        change.commit().await
    }

    async fn shut_out(&mut self, firm: &Place, staff: &[Guest]) -> Result<()> {
        self.travel_to(7 * DAY);
        let of = |fate| staff.iter().filter(|guest| guest.fate == fate).map(|guest| guest.member).collect::<Vec<_>>();
        let (left, suspended) = (of(Fate::Deactivated), of(Fate::Suspended));
        self.as_owner(firm, |change, actor| {
            async move {
                for member in left {
                    member::deactivate(change, actor, member).await?;
                }
                for member in suspended {
                    member::suspend(change, actor, member).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn newcomers(&mut self, firm: &Place) -> Result<()> {
        self.travel_to(3);
        self.invite(firm, &[Fate::Invited], Mailed::Accepted).await?;
        let suspended = self.invite(firm, &[Fate::SuspendedInvitee], Mailed::Accepted).await?;
        self.travel_to(2);
        self.as_owner(firm, |change, actor| {
            async move {
                for guest in suspended {
                    member::suspend(change, actor, guest.member).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await?;
        self.invite(firm, &[Fate::NotSent], Mailed::No).await?;
        self.travel_to(0);
        self.invite(firm, &[Fate::JustInvited], Mailed::Queued).await?;
        Ok(())
    }

    async fn consulting(&mut self) -> Result<AccountId> {
        self.travel_to(30 * DAY);
        let consulting = self.found(CONSULTING_NAME, CONSULTING, CONSULTING_DOMAIN, 10).await?;
        let own = self.invite(&consulting, &[Fate::Active], Mailed::Accepted).await?;
        let shared = NewInvitation {
            place: member::Place::with_roles([SystemRole::BillingManager.id()]),
            ..new_invitation(0, &FIRM[0], FIRM_DOMAIN)
        };
        let shared = self.invite_each(&consulting, vec![(Fate::Active, shared)], Mailed::Accepted).await?;
        self.travel_to(30 * DAY - 3);
        self.accept(&consulting, &own).await?;
        self.accept(&consulting, &shared).await?;
        Ok(consulting.account)
    }

    async fn found(&self, name: &str, people: &'static [Person], domain: &'static str, seats: i32) -> Result<Place> {
        let new = new_invitation(0, &people[0], domain);
        let password_hash = self.passwords.hash(&SecretString::from(PASSWORD)).await?;
        let mut change = Change::begin_identity(&self.db, Origin::system(), None).await?;
        let now = change.now();
        let user = user::create(change.conn(), new.email.as_str(), &password_hash, now).await?;
        let text = |field: &'_ Option<String>| field.clone().unwrap_or_default();
        let founding = Founding {
            name,
            time_zone: &text(&new.profile.time_zone),
            base_seats: 3,
            user_id: user,
            email: new.email.as_str(),
            first_name: &text(&new.profile.first_name),
            last_name: &text(&new.profile.last_name),
        };
        let (account, owner) = account::found(&mut change, &founding).await?;
        complete_profile(&mut change, account, owner, &new.profile).await?;
        change.commit().await?;
        let mut change = Change::begin(&self.db, account, Kind::System, Origin::operator(), None).await?;
        license::set_granted(&mut change, seats, None).await?;
        change.commit().await?;
        Ok(Place { account, owner, people, domain })
    }

    /// Invites everybody of some fates.
    async fn invite(&self, place: &Place, fates: &[Fate], mailed: Mailed) -> Result<Vec<Guest>> {
        let wanted = place.people.iter().enumerate().filter(|(_, person)| fates.contains(&person.6));
        let items = wanted.map(|(index, person)| (person.6, new_invitation(index, person, place.domain))).collect();
        self.invite_each(place, items, mailed).await
    }

    async fn invite_each(
        &self,
        place: &Place,
        items: Vec<(Fate, NewInvitation)>,
        mailed: Mailed,
    ) -> Result<Vec<Guest>> {
        let origin = Origin { author: Author::Member(place.owner), ..Origin::system() };
        let mut change = Change::begin(&self.db, place.account, Kind::Asked, origin, None).await?;
        let seats = i32::try_from(items.len()).expect("a firm of forty");
        license::take(&mut change, Wanted::All(seats)).await?;
        let (fates, items): (Vec<Fate>, Vec<NewInvitation>) = items.into_iter().unzip();
        let ids = invitation::create(&mut change, Some(place.owner), &items, mailed != Mailed::No).await?;
        let outcome = match mailed {
            Mailed::No | Mailed::Queued => None,
            Mailed::Accepted => Some(Outcome::Accepted { reply: "250 2.0.0 Ok: queued".to_owned() }),
            Mailed::Deferred => Some(Outcome::Deferred {
                reply: Some("450 4.1.2 Recipient address rejected: Domain not found".to_owned()),
            }),
        };
        // In the same transaction, so that no worker sends them first.
        for (invitation, _) in &ids {
            if let Some(outcome) = &outcome {
                invitation::record_delivery(&mut change, *invitation, FIRST_GENERATION, outcome).await?;
            }
        }
        change.commit().await?;
        let guest = |(fate, (invitation, member))| Guest { fate, invitation, member };
        Ok(fates.into_iter().zip(ids).map(guest).collect())
    }

    /// What the mail's link carries.
    fn link(&self, place: &Place, guest: &Guest) -> String {
        let account = Some(place.account);
        self.db.key.derive(Purpose::Invitation, account, guest.invitation.0, FIRST_GENERATION).expose()
    }

    /// Several at once, because each computes the hash of a password.
    async fn accept(&self, place: &Place, guests: &[Guest]) -> Result<()> {
        let acceptance = Acceptance { password: Some(SecretString::from(PASSWORD)), ..Acceptance::default() };
        let each = futures::stream::iter(guests.iter().map(Ok));
        each.try_for_each_concurrent(AT_ONCE, |guest| async {
            let link = self.link(place, guest);
            invitation::accept(&self.db, &self.passwords, Origin::system(), None, &link, &acceptance).await.map(drop)
        })
        .await
    }

    /// Does something as the owner, in a session that ends with it.
    async fn as_owner<F>(&self, place: &Place, work: F) -> Result<()>
    where
        F: for<'c> FnOnce(&'c mut Change, &'c Actor) -> BoxFuture<'c, Result<()>>,
    {
        let sign_in = SignIn {
            email: &address(&place.people[0], place.domain),
            password: &SecretString::from(PASSWORD),
            account_id: Some(place.account),
            client: Client::default(),
        };
        let opened = session::create(&self.db, &self.passwords, Origin::system(), sign_in).await?;
        let actor = session::authenticate(&self.db, &opened.token.expose(), Origin::system()).await?.actor;
        let origin = actor.origin.clone();
        let mut change = Change::begin(&self.db, place.account, Kind::Asked, origin, Some(actor.now)).await?;
        work(&mut change, &actor).await?;
        session::revoke(&mut change, &actor, actor.session_id).await?;
        change.commit().await
    }
}

fn new_invitation(index: usize, person: &Person, domain: &str) -> NewInvitation {
    NewInvitation {
        email: EmailAddress::parse(&address(person, domain)).expect("a test reads all of them"),
        profile: profile(person, index),
        message: (person.6 == Fate::JustInvited).then(|| {
            "We look forward to working with you.\nThis account is where the firm keeps its people.".to_owned()
        }),
        place: member::Place::with_roles([person.5.id()]),
        validity: member::Validity::default(),
    }
}

/// Founding asks for a name only.
async fn complete_profile(change: &mut Change, account: AccountId, owner: MemberId, profile: &Profile) -> Result<()> {
    sqlx::query!(
        "UPDATE member SET initials = $3, address = $4, city = $5, state = $6, zip = $7, country = $8, phone = $9, job_title = $10,
                subscription_type = $11 WHERE account_id = $1 AND member_id = $2",
        account.0,
        owner.0,
        profile.initials,
        profile.address,
        profile.city,
        profile.state,
        profile.zip,
        profile.country,
        profile.phone,
        profile.job_title,
        profile.subscription_type.map(SubscriptionType::as_str),
    )
    .execute(change.conn())
    .await?;
    Ok(())
}
