//! Looks and newcomers in the orders that real ones rarely come in.

use domain::actor::{Actor, Author, HostGrants, Origin, Rights};
use domain::id::{MemberId, UserId};
use domain::permission::{Permission, PermissionSet};

use super::*;

fn some(keys: &[&str]) -> Grants {
    Grants::wide_only(PermissionSet::from_keys(keys.iter().copied()))
}

/// A session that was there at `looked_at`, with rights that were read at `version`.
fn session(id: SessionId, looked_at: i64, version: i64, grants: Grants) -> Authenticated {
    let now = Timestamp(jiff::Timestamp::UNIX_EPOCH);
    let member_id = MemberId::new();
    let actor = Actor {
        account_id: AccountId::new(),
        member_id,
        user_id: UserId::new(),
        session_id: id,
        rights: Arc::new(Rights { version, owner: false, grants, host: HostGrants::default(), catalogue: 1 }),
        now,
        origin: Origin { author: Author::Member(member_id), ..Origin::system() },
    };
    Authenticated { actor, account_name: "Harbor & Finch".to_owned(), cookie: false, until: now, looked_at }
}

fn look(access_version: i64, standings: Option<&[(SessionId, Grants)]>) -> Look {
    let standings = standings.map(|list| list.iter().cloned().collect());
    let (after_id, newest_id) = (None, None);
    Look { next_seq: 11, oldest_seq: 1, access_version, after_id, newest_id, events: Vec::new(), standings }
}

/// A hub whose followers were all judged at a version, and who have seen event 10.
fn hub(version: i64) -> Hub {
    let hub = Hub::new(AccountId::new());
    {
        let mut state = hub.state();
        (state.seq, state.version) = (Some(10), version);
    }
    hub
}

fn ask(seen: i64) -> Ask<'static> {
    let account = AccountId::new();
    Ask { account, after: NO_EVENTS, up_to: i64::MAX, kinds: &[], limit: 100, seen, sessions: &[] }
}

const READER: [&str; 1] = [Permission::ActivityRead.key()];

#[test]
fn who_came_with_older_rights_while_a_look_was_under_way_is_judged_by_the_next() {
    let (hub, id) = (hub(6), SessionId::new());
    // The look has begun with version 6 seen; meanwhile somebody comes who was looked at before.
    let follower = hub.enter(&session(id, 5, 5, some(&READER)));
    assert!(hub.hand_out(&ask(6), &[], look(6, None)), "there is more to do");
    assert_eq!(hub.state().version, 5);
    assert!(!hub.hand_out(&ask(5), &[id], look(6, Some(&[]))));
    assert!(follower.ended.is_cancelled());
    assert_eq!(hub.state().version, 6);
}

#[test]
fn a_session_that_was_revoked_before_its_rights_were_read_is_judged() {
    let (hub, id) = (hub(6), SessionId::new());
    let follower = hub.enter(&session(id, 5, 6, some(&READER)));
    assert!(hub.hand_out(&ask(6), &[], look(6, None)));
    hub.hand_out(&ask(5), &[id], look(6, Some(&[])));
    assert!(follower.ended.is_cancelled());
}

#[test]
fn who_is_up_to_date_keeps_nobody_waiting() {
    let (hub, old, new) = (hub(5), SessionId::new(), SessionId::new());
    let lesser = hub.enter(&session(old, 5, 5, some(&READER)));
    let newcomer = hub.enter(&session(new, 6, 6, some(&READER)));
    assert!(!hub.hand_out(&ask(5), &[old], look(6, Some(&[(old, some(&[]))]))), "the newcomer was not asked about");
    assert!(lesser.ended.is_cancelled() && !newcomer.ended.is_cancelled());
    assert_eq!(hub.state().version, 6);
}

#[test]
fn a_statement_that_is_older_than_what_is_known_ends_nobody() {
    let (hub, id) = (hub(5), SessionId::new());
    let follower = hub.enter(&session(id, 5, 5, some(&READER)));
    // A role was won in version 7, and an operation knows of it; the look is of version 6.
    hub.renew(&follower, &session(id, 7, 7, some(&["activity.read", "members.read"])));
    assert!(hub.hand_out(&ask(5), &[id], look(6, Some(&[(id, some(&READER))]))));
    assert!(!follower.ended.is_cancelled());
    hub.hand_out(&ask(5), &[id], look(7, Some(&[(id, some(&["activity.read", "members.read"]))])));
    assert!(!follower.ended.is_cancelled());
    // What was won is lost again.
    hub.hand_out(&ask(7), &[id], look(8, Some(&[(id, some(&READER))])));
    assert!(follower.ended.is_cancelled());
}

#[test]
fn a_feed_that_went_back_ends_everybody() {
    for (after_id, next_seq, ends) in
        [(Some(EventId::new()), 12, true), (None, 9, true), (None, 12, true), (Some(SEEN), 12, false)]
    {
        let (hub, id) = (hub(5), SessionId::new());
        let follower = hub.enter(&session(id, 5, 5, some(&READER)));
        let _listening = hub.events();
        hub.state().seq_id = Some(SEEN);
        let look = Look { after_id, next_seq, ..look(5, None) };
        hub.hand_out(&Ask { after: 10, ..ask(5) }, &[id], look);
        assert_eq!(follower.ended.is_cancelled(), ends, "{after_id:?}, {next_seq}");
    }
}

const SEEN: EventId = EventId(uuid::Uuid::from_u128(7));

#[test]
fn a_look_that_ends_in_a_panic_leaves_the_hub_at_rest() {
    let hub = hub(5);
    hub.state().looking = Looking::Yes;
    let mut ended_well = Rest(Some(&hub));
    ended_well.0 = None;
    drop(ended_well);
    assert_eq!(hub.state().looking, Looking::Yes, "another task may have begun");
    drop(Rest(Some(&hub)));
    assert_eq!(hub.state().looking, Looking::No);
}
