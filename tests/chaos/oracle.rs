//! What must be true once it is quiet again, judged by what clients were told.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::Instant;

use super::client::{Clients, Entry, Reply, TRIES, ids};
use super::cluster::Cluster;
use super::contents::Contents;
use super::flight::Disturbance;
use super::world::World;

/// How soon there is nothing left to do.
const SETTLES_WITHIN: Duration = Duration::from_mins(2);

/// What is left of the work; empty once all is done.
async fn unsettled(pool: &PgPool) -> Result<Vec<String>> {
    let left = sqlx::query_scalar(
        "SELECT concat_ws(' ', 'job', kind, 'attempt', attempts, 'hinted', hinted, 'claimed', claim IS NOT NULL, last_error_code,
                          'due in', round(extract(epoch FROM wake_at - now())), 's') FROM outbox WHERE wake_at IS NOT NULL
         UNION ALL SELECT concat_ws(' ', 'import', state) FROM member_import WHERE finished_at IS NULL
         UNION ALL SELECT concat_ws(' ', 'unsealed', account_id, next_seq) FROM account_feed f
             WHERE next_seq - 1 > coalesce((SELECT max(last_seq) FROM event_seal s WHERE s.account_id = f.account_id), 0)
         UNION ALL SELECT concat_ws(' ', 'sweep', sweep) FROM sweep_tick WHERE finished_at IS NULL AND lease_until < now()",
    );
    Ok(left.fetch_all(pool).await?)
}

/// Keys of Redis that hold ids of jobs.
async fn queued(redis_url: &str) -> Result<Vec<String>> {
    let mut redis = redis::Client::open(redis_url)?.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await?;
    // What remains is a few facts about each consumer that lives.
    let lasting = |key: &String| key.contains(":workers") || key.starts_with("core:apalis") || key.ends_with(":alive");
    Ok(keys.into_iter().filter(|key| !lasting(key)).collect())
}

/// Waits until nothing is left to do, in the database and in Redis; answers how long that took.
pub(super) async fn settle(cluster: &Cluster, pool: &PgPool) -> Result<Duration> {
    let start = Instant::now();
    cluster.ready(SETTLES_WITHIN).await?;
    loop {
        let mut left = unsettled(pool).await?;
        if left.is_empty() {
            left = queued(&cluster.redis_url).await?;
        }
        if left.is_empty() {
            return Ok(start.elapsed());
        }
        if start.elapsed() > SETTLES_WITHIN {
            bail!("{} things are left: {:#?}", left.len(), &left[..left.len().min(20)]);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// No job has died, and the rules of the product hold.
pub(super) async fn rules(cluster: &Cluster, pool: &PgPool) -> Result<()> {
    let dead: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', kind, attempts, last_error_code) FROM outbox WHERE dead_at IS NOT NULL",
    )
    .fetch_all(pool)
    .await?;
    ensure!(dead.is_empty(), "jobs have died: {dead:?}");
    let claimed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM outbox WHERE claim IS NOT NULL").fetch_one(pool).await?;
    ensure!(claimed == 0, "{claimed} jobs are claimed by nobody");
    // Every rule of the product; it fails with what breaks one.
    cluster.run(&["verify"]).await?;
    Ok(())
}

/// The event that a mutation leaves each time it does something; those that leave none always are left out.
fn event_of(mutation: &str) -> Option<&'static str> {
    Some(match mutation {
        "memberInvite" => "invitation.created",
        "invitationSend" => "invitation.sent",
        "invitationResend" => "invitation.resent",
        "invitationRevoke" => "invitation.revoked",
        "invitationUpdate" => "invitation.updated",
        "invitationAccept" => "invitation.accepted",
        "memberSuspend" => "member.suspended",
        "memberActivate" => "member.activated",
        "memberDeactivate" => "member.deactivated",
        "memberReactivate" => "member.reactivated",
        "memberAssignRoles" => "member.roles_changed",
        "memberImportCreate" => "import.started",
        _ => return None,
    })
}

/// Each wish was fulfilled once if that was answered, and otherwise once or not at all, whichever of its tries did it.
pub(super) async fn effects(pool: &PgPool, journal: &[Entry]) -> Result<()> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT request_id, kind FROM event WHERE starts_with(request_id, $1)")
            .bind(TRIES)
            .fetch_all(pool)
            .await?;
    let mut of: HashMap<(String, String), BTreeMap<String, usize>> = HashMap::new();
    for (request, kind) in rows {
        let wish = request.rsplit_once('-').map_or(request.as_str(), |(_, wish)| wish).to_owned();
        *of.entry((wish, kind)).or_default().entry(request).or_default() += 1;
    }
    for entry in journal {
        let Some(kind) = event_of(entry.wish.mutation) else { continue };
        let done = of.remove(&(entry.wish.id.clone(), kind.to_owned())).unwrap_or_default();
        ensure!(done.len() <= 1, "{} was done more than once: {done:?} {entry:?}", entry.wish.id);
        let events = done.values().sum::<usize>();
        match &entry.reply {
            Reply::Done(_) => {
                let wanted = entry.wish.input["invitations"].as_array().map_or(1, Vec::len);
                let nothing = entry.wish.mutation == "memberAssignRoles" && events == 0;
                ensure!(events == wanted || nothing, "it was answered, but {events} events are there: {entry:?}");
            }
            Reply::Refused(_) if entry.tries == 1 => ensure!(events == 0, "it was refused, and done: {entry:?}"),
            _ => {}
        }
    }
    Ok(())
}

/// What was answered exists.
pub(super) async fn exist(pool: &PgPool, journal: &[Entry]) -> Result<()> {
    let mut there: HashSet<String> = HashSet::new();
    for (prefix, table, column) in [
        ("inv", "invitation", "invitation_id"),
        ("imp", "member_import", "import_id"),
        ("upl", "upload", "upload_id"),
        ("acc", "account", "account_id"),
    ] {
        let statement = format!("SELECT '{prefix}_' || replace({column}::text, '-', '') FROM {table}");
        there.extend(sqlx::query_scalar::<_, String>(AssertSqlSafe(statement)).fetch_all(pool).await?);
    }
    for entry in journal {
        if let Reply::Done(payload) = &entry.reply {
            for id in ids(payload) {
                // Members go with their invitation.
                ensure!(id.starts_with("mem_") || there.contains(&id), "{id} is gone: {entry:?}");
            }
        }
    }
    Ok(())
}

/// The rows of imports that were done are there once each.
pub(super) async fn imports(pool: &PgPool) -> Result<()> {
    let broken: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', i.import_id, i.state, i.error_code, i.rows_total, i.rows_done, count(r.row_no), count(DISTINCT r.member_id))
         FROM member_import i LEFT JOIN member_import_row r USING (account_id, import_id)
         GROUP BY i.account_id, i.import_id
         HAVING i.state <> 'FINISHED' OR i.rows_done <> i.rows_total OR count(r.row_no) <> i.rows_total
             OR count(DISTINCT r.member_id) <> i.rows_invited",
    )
    .fetch_all(pool)
    .await?;
    ensure!(broken.is_empty(), "{broken:?}");
    Ok(())
}

/// Asks again, under the same key, for everything that was not refused: what was answered is answered alike, and what nobody
/// could tell is done now unless it was done.
pub(super) async fn replays(world: &World, journal: &[Entry]) -> Result<usize> {
    use futures::StreamExt as _;
    let keyed = journal.iter().filter(|entry| entry.wish.signed_in && !matches!(entry.reply, Reply::Refused(_)));
    let again = futures::stream::iter(keyed).map(|entry| async move {
        let token = &world.accounts[entry.wish.account].token;
        (entry, world.clients.repeat(token, entry).await)
    });
    let again: Vec<_> = again.buffer_unordered(8).collect().await;
    for (entry, reply) in &again {
        let Reply::Done(first) = &entry.reply else { continue };
        let Reply::Done(second) = reply else { bail!("asked again: {reply:?}; {entry:?}") };
        // What was done is read again for the answer; where that fails, the answer comes without it.
        let partly = first.as_object().is_some_and(|fields| fields.values().any(Value::is_null));
        let (first, second) = (ids(first), ids(second));
        // Members go with their invitation.
        let same = partly || second.iter().all(|id| first.contains(id));
        let all = first.iter().all(|id| id.starts_with("mem_") || second.contains(id));
        ensure!(same && all, "asked again, other things are named: {second:?} {entry:?}");
    }
    Ok(again.len())
}

/// What became of mail.
#[derive(Debug)]
pub(super) struct Mails {
    pub(super) all: usize,
    pub(super) duplicates: usize,
    /// Mails that workers had claimed at each fault that can part them from those.
    pub(super) claimed: usize,
    /// Of those, what was being handed to the mail server.
    pub(super) under_way: usize,
    /// Mails that the server took and could not say so.
    pub(super) cuts: usize,
}

/// How long after a fault a mail may be sent again because of it: a lease, and the wait for the next try.
const AFTERMATH: Duration = Duration::from_mins(1);

/// How long a mail may be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(15);

/// The part of a Message-ID that names the mail.
fn local(message_id: &str) -> &str {
    message_id.split('@').next().unwrap_or_default()
}

/// Whatever is due was sent; what was sent twice is the same mail, and something went wrong in between.
pub(super) async fn mails(
    cluster: &Cluster,
    pool: &PgPool,
    journal: &[Entry],
    disturbances: &[Disturbance],
) -> Result<Mails> {
    let received = cluster.mail.received();
    let mut by_id: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for mail in &received {
        by_id.entry(local(&mail.letter.message_id)).or_default().push(mail);
    }
    let invitations: Vec<(String, String, String, Option<String>)> = sqlx::query_as(
        "SELECT concat('inv_', replace(i.invitation_id::text, '-', ''), '.', i.generation), i.email,
                concat_ws(' ', i.state, m.status), i.delivery
         FROM invitation i LEFT JOIN member m USING (account_id, member_id)
         WHERE i.state = 'ACCEPTED' OR (i.state = 'PENDING' AND m.status = 'INVITED')",
    )
    .fetch_all(pool)
    .await?;
    for (id, email, state, delivery) in &invitations {
        let Some(mails) = by_id.get(id.as_str()) else { bail!("{id} ({state}, {delivery:?}) has no mail") };
        ensure!(mails.iter().all(|mail| mail.letter.to == *email), "{id} went to somebody else");
        ensure!(delivery.as_deref() == Some("SENT"), "the mail of {id} was sent, but is {delivery:?}");
    }
    let reset: BTreeSet<&str> = received
        .iter()
        .filter(|mail| mail.letter.first_link().is_some_and(|link| link.contains("/password-reset/")))
        .map(|mail| mail.letter.to.as_str())
        .collect();
    for entry in journal.iter().filter(|entry| entry.wish.mutation == "passwordResetRequest") {
        if let (Reply::Done(_), Some(email)) = (&entry.reply, entry.wish.input["email"].as_str()) {
            ensure!(reset.contains(email), "no link to choose a password was sent for {entry:?}");
        }
    }
    let mut duplicates = 0;
    for (id, copies) in &by_id {
        duplicates += copies.len() - 1;
        for pair in copies.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            ensure!(
                (&a.letter.to, a.letter.first_link()) == (&b.letter.to, b.letter.first_link()),
                "{id} is two mails"
            );
            let excused = disturbances.iter().any(|one| one.from <= b.at && a.at <= one.to + ON_ITS_WAY);
            ensure!(excused && b.at - a.at <= AFTERMATH + ON_ITS_WAY, "{id} was sent twice for no reason");
        }
    }
    let mails = Mails {
        all: received.len(),
        duplicates,
        claimed: disturbances.iter().map(|one| one.claimed).sum(),
        under_way: disturbances.iter().map(|one| one.under_way).sum(),
        cuts: cluster.nodes.iter().map(|node| node.to_mail.cuts()).sum(),
    };
    // A cut is an event of its own: any number can follow while the connections are cut.
    // A mail that is claimed, handed over and parted from its worker between two looks is not seen: one for each fault.
    ensure!(mails.duplicates <= mails.claimed + mails.cuts + disturbances.len(), "{mails:?}");
    Ok(mails)
}

/// No secret is in any log, in the database, or in Redis.
pub(super) fn secrets(cluster: &Cluster, world: &World, dump: &[u8], redis: &Contents) -> Result<(usize, usize)> {
    let secret = |token: &str| token.rsplit('.').next().unwrap_or_default().to_owned();
    let received = cluster.mail.received();
    // Where the rejected rows of an import are is signed, not a token.
    let leads = |link: &str| !link.contains("/member-imports/");
    let with_links = received.iter().filter(|mail| mail.letter.first_link().is_some_and(leads));
    let mut secrets: HashSet<Vec<u8>> = with_links.map(|mail| secret(&mail.letter.token()).into_bytes()).collect();
    secrets.extend(world.secrets.lock().unwrap().iter().map(|token| secret(token).into_bytes()));
    ensure!(secrets.iter().all(|secret| secret.len() == LENGTH), "a token has another length");
    let (values, contents) = redis.all();
    let mut places = vec![
        ("database".to_owned(), dump.to_vec()),
        ("Redis's files".to_owned(), cluster.redis_files()?),
        ("Redis".to_owned(), contents),
    ];
    for (node, log) in cluster.nodes.iter().zip(cluster.logs()) {
        ensure!(!log.contains("panicked"), "{} panicked: {log}", node.keeper.name());
        places.push((node.keeper.name().to_owned(), log.into_bytes()));
    }
    let password = super::world::PASSWORD.as_bytes();
    for (place, text) in &places {
        ensure!(!text.windows(password.len()).any(|part| part == password), "a password is in: {place}");
        let words = text.split(|byte| !(byte.is_ascii_alphanumeric() || b"-_".contains(byte)));
        let found = words.flat_map(|word| word.windows(LENGTH)).find(|part| secrets.contains(*part));
        ensure!(found.is_none(), "a token is in: {place}");
    }
    Ok((secrets.len(), values))
}

/// 256 bits in base64.
const LENGTH: usize = 43;

/// How often what was answered.
pub(super) fn tally(clients: &Clients) -> String {
    let (mut done, mut tries) = (0, 0);
    let (mut refused, mut unknown) = (BTreeMap::<String, u32>::new(), BTreeMap::<String, u32>::new());
    for entry in clients.journal() {
        tries += entry.tries;
        match entry.reply {
            Reply::Done(_) => done += 1,
            Reply::Refused(codes) => *refused.entry(codes[0].clone()).or_default() += 1,
            Reply::Unknown(why) => *unknown.entry(why).or_default() += 1,
        }
    }
    format!(
        "{done} acknowledged, {} refused, {} unknown, in {tries} tries; refused {refused:?}; unknown {unknown:?}",
        refused.values().sum::<u32>(),
        unknown.values().sum::<u32>()
    )
}
