//! The mail of an invitation: what it says, and what became of it.

use sqlx::PgConnection;

use super::{Delivery, State, UNDELIVERABLE_AFTER, enqueue_mail_as, lifetime};
use crate::change::Change;
use crate::error::Result;
use crate::id::{AccountId, InvitationId, MemberId};
use crate::infra::db::Db;
use crate::infra::secret::{Purpose, Token};

/// What the mail of an invitation needs.
pub struct InvitationMail {
    /// To whom, as of now.
    pub email: String,
    /// Their first name, if known.
    pub first_name: Option<String>,
    /// The account's name.
    pub account_name: String,
    /// Who invites, if it was a member who is still there.
    pub inviter_name: Option<String>,
    /// The personal message.
    pub message: Option<String>,
    /// Seconds the link can be used.
    pub lifetime_seconds: i32,
    /// The link's secret: the same each time this generation is sent.
    pub token: Token,
}

/// Reads what the mail needs; `None` when this generation is no longer wanted: answered, revoked, resent, delivered already. Nor is
/// it while the person is suspended, whose link would be refused: `send_held` asks for it again.
pub async fn mail(
    db: &Db,
    conn: &mut PgConnection,
    account: AccountId,
    id: InvitationId,
    generation: i32,
) -> sqlx::Result<Option<InvitationMail>> {
    let row = sqlx::query!(
        r#"SELECT i.email, i.first_name, i.message, a.name AS account_name, a.invitation_lifetime_seconds,
                  nullif(trim(concat_ws(' ', b.first_name, b.last_name)), '') AS inviter_name
           FROM invitation i
           JOIN account a USING (account_id)
           JOIN member m USING (account_id, member_id)
           LEFT JOIN member b ON b.account_id = i.account_id AND b.member_id = i.invited_by
           WHERE i.account_id = $1 AND i.invitation_id = $2 AND i.generation = $3 AND i.state = 'PENDING' AND i.sent_at IS NULL
             AND m.status = 'INVITED'"#,
        account.0,
        id.0,
        generation,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| InvitationMail {
        email: row.email,
        first_name: row.first_name,
        account_name: row.account_name,
        inviter_name: row.inviter_name,
        message: row.message,
        lifetime_seconds: row.invitation_lifetime_seconds,
        token: db.key.derive(Purpose::Invitation, Some(account), id.0, generation),
    }))
}

/// Asks again for the mails of people who are no longer suspended, where it was held back and the invitation is still open. The caller
/// has the members under lock.
pub(crate) async fn send_held(change: &mut Change, members: &[MemberId]) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let ids: Vec<_> = members.iter().map(|member| member.0).collect();
    let held = sqlx::query!(
        r#"UPDATE invitation SET queued_at = $3
           WHERE account_id = $1 AND member_id = ANY($2) AND state = 'PENDING' AND delivery = 'QUEUED' AND queued_at > $4
           RETURNING invitation_id AS "invitation_id: InvitationId", generation"#,
        account.0,
        &ids,
        now,
        now - UNDELIVERABLE_AFTER,
    )
    .fetch_all(change.conn())
    .await?;
    for held in held {
        // A key of its own: the job before may have found the person suspended, and be about to finish.
        let key = format!("{}:{}:{}", held.invitation_id, held.generation, now.0.as_microsecond());
        enqueue_mail_as(change, held.invitation_id, held.generation, key);
    }
    Ok(())
}

/// What a mail server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took the mail: the lifetime starts now.
    Accepted {
        /// Its reply, addresses replaced.
        reply: String,
    },
    /// It did not take the mail this time.
    Deferred {
        /// Its reply, addresses replaced, if it said anything.
        reply: Option<String>,
    },
    /// It will never take the mail.
    Refused {
        /// Its reply, addresses replaced.
        reply: String,
    },
}

/// Records what became of a mail. An outcome of a generation that is no longer current is dropped, and so is a failure once the
/// invitation has ended. That the mail was sent is a fact also then: people accept faster than it is written down.
pub async fn record_delivery(change: &mut Change, id: InvitationId, generation: i32, outcome: &Outcome) -> Result<()> {
    let (delivery, reply) = match outcome {
        Outcome::Accepted { reply } => {
            let mail = SentMail { invitation_id: id, generation, reply: reply.clone() };
            return record_sent(change, &[mail]).await;
        }
        Outcome::Deferred { reply } => (Delivery::Queued, reply.as_deref()),
        Outcome::Refused { reply } => (Delivery::Failed, Some(reply.as_str())),
    };
    let (account, now) = (change.account(), change.now());
    sqlx::query!(
        "UPDATE invitation SET delivery = $4, delivery_reply = $5, delivery_at = $6
         WHERE account_id = $1 AND invitation_id = $2 AND generation = $3 AND state = $7 AND sent_at IS NULL",
        account.0,
        id.0,
        generation,
        delivery.as_str(),
        reply,
        now,
        State::Pending.as_str(),
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

/// A mail that the mail server took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMail {
    /// Whose link it carries.
    pub invitation_id: InvitationId,
    /// Which link that is.
    pub generation: i32,
    /// The server's reply, addresses replaced.
    pub reply: String,
}

/// [`record_delivery`] of mails that were taken, in one statement. Their lifetimes start now.
pub async fn record_sent(change: &mut Change, mails: &[SentMail]) -> Result<()> {
    let (account, now) = (change.account(), change.now());
    let lifetime = lifetime(change.conn(), account).await?;
    let ids: Vec<_> = mails.iter().map(|mail| mail.invitation_id.0).collect();
    let generations: Vec<i32> = mails.iter().map(|mail| mail.generation).collect();
    let replies: Vec<String> = mails.iter().map(|mail| mail.reply.clone()).collect();
    // In the order of ids, as everybody who locks several.
    sqlx::query!(
        "WITH pick AS MATERIALIZED (
             SELECT i.invitation_id, u.reply FROM invitation i
             JOIN unnest($2::uuid[], $3::int[], $4::text[]) AS u (invitation_id, generation, reply)
                  ON i.invitation_id = u.invitation_id AND i.generation = u.generation
             WHERE i.account_id = $1 AND CASE i.state WHEN $7 THEN i.sent_at IS NULL
                                                      ELSE i.finished_at IS NOT NULL AND i.delivery_reply IS NULL END
             ORDER BY i.invitation_id FOR NO KEY UPDATE OF i
         )
         UPDATE invitation SET delivery = $8, delivery_reply = pick.reply, delivery_at = $5, sent_at = coalesce(sent_at, $5),
                               expires_at = CASE WHEN state = $7 THEN $6 ELSE expires_at END
         FROM pick WHERE invitation.account_id = $1 AND invitation.invitation_id = pick.invitation_id",
        account.0,
        &ids,
        &generations,
        &replies,
        now,
        now + lifetime,
        State::Pending.as_str(),
        Delivery::Sent.as_str(),
    )
    .execute(change.conn())
    .await?;
    Ok(())
}

impl Delivery {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Sent => "SENT",
            Self::Failed => "FAILED",
        }
    }
}
