//! What is done to the installation: planned by the seed, before it begins.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use tokio::time::Instant;

use super::cluster::{Cluster, Node};
use super::flight::{Disturbance, Flights};
use super::keeper::Keeper;
use super::proxy::{Mode, Proxy};
use crate::support::dice::Dice;

/// The first of the workers among the processes, and how many processes there are.
const FIRST_WORKER: usize = 2;
const NODES: usize = 4;

/// One server or process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Node(usize),
    Postgres,
    Redis,
}

/// What processes are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Server {
    Postgres,
    Redis,
    Mail,
}

/// What befalls connections.
#[derive(Clone, Copy, Debug)]
pub(super) enum Harm {
    Reset,
    Mode(Mode),
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// A process is killed (SIGKILL), or PostgreSQL ended at once (SIGQUIT), and started again after the time.
    Kill(Part),
    /// Redis is killed and comes back with nothing.
    EmptyRedis,
    /// Everything of it stands still (SIGSTOP) for the time.
    Freeze(Part),
    /// The connections of a process to a server.
    Link(usize, Server, Harm),
    /// The clock of a process is wrong by so many seconds.
    Clock(usize, i64),
}

impl Fault {
    /// Whether it can part a worker from its claims or from the mail server's answers, so that a mail is sent again.
    fn repeats_mail(&self) -> bool {
        match *self {
            Self::Kill(part) | Self::Freeze(part) => match part {
                Part::Node(node) => node >= FIRST_WORKER,
                Part::Postgres => true,
                Part::Redis => false,
            },
            Self::Link(node, server, _) => node >= FIRST_WORKER && server != Server::Redis,
            Self::EmptyRedis | Self::Clock(..) => false,
        }
    }

    /// For the report.
    pub(super) fn kind(&self) -> String {
        let part = |part| match part {
            Part::Node(node) if node < FIRST_WORKER => "api",
            Part::Node(_) => "worker",
            Part::Postgres => "postgres",
            Part::Redis => "redis",
        };
        match *self {
            Self::Kill(who) => format!("kill {}", part(who)),
            Self::EmptyRedis => "empty redis".to_owned(),
            Self::Freeze(who) => format!("freeze {}", part(who)),
            Self::Link(_, server, harm) => {
                let harm = match harm {
                    Harm::Reset => "reset",
                    Harm::Mode(Mode::Delay(_)) => "delay",
                    Harm::Mode(Mode::Hole) => "black-hole",
                    Harm::Mode(Mode::CutAfterDot) => "cut after dot",
                    Harm::Mode(Mode::Pass) => "pass",
                };
                format!("{harm} {server:?}").to_lowercase()
            }
            Self::Clock(..) => "move clock".to_owned(),
        }
    }
}

/// When what goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) at: Duration,
    pub(super) time: Duration,
    pub(super) fault: Fault,
}

/// How long faults go on beginning; a long one may end later.
const SPAN: Duration = Duration::from_secs(26);

/// A plan: something every few seconds, never two things of one kind to the same part at once.
pub(super) fn plan(dice: &mut Dice, clocks: bool) -> Vec<Planned> {
    let mut plan = Vec::new();
    let mut busy: HashMap<String, Duration> = HashMap::new();
    let mut at = dice.millis(500, 2000);
    while at < SPAN {
        let (fault, time) = draw(dice, clocks, at);
        let subjects = subjects(fault);
        if subjects.iter().all(|subject| busy.get(subject).is_none_or(|until| *until < at)) {
            busy.extend(subjects.into_iter().map(|subject| (subject, at + time + Duration::from_secs(1))));
            plan.push(Planned { at, time, fault });
            at += dice.millis(800, 3500);
        }
    }
    plan
}

/// What a fault needs for itself.
fn subjects(fault: Fault) -> Vec<String> {
    match fault {
        Fault::Kill(part) | Fault::Freeze(part) => vec![format!("{part:?}")],
        Fault::EmptyRedis => vec![format!("{:?}", Part::Redis)],
        Fault::Link(node, server, _) => vec![format!("{node} {server:?}")],
        Fault::Clock(node, _) => vec![format!("clock {node}")],
    }
}

fn draw(dice: &mut Dice, clocks: bool, at: Duration) -> (Fault, Duration) {
    let node = dice.index(NODES);
    let worker = FIRST_WORKER + dice.index(NODES - FIRST_WORKER);
    // Long ones early, so that a round does not become longer by them.
    let frozen = dice.millis(1_000, if at < Duration::from_secs(8) { 40_000 } else { 15_000 });
    match dice.below(100) {
        0..=11 => (Fault::Kill(Part::Node(node)), dice.millis(0, 5_000)),
        12..=19 => (Fault::Kill(Part::Node(worker)), dice.millis(0, 5_000)),
        20..=25 => (Fault::Kill(Part::Redis), dice.millis(0, 5_000)),
        26..=33 => (Fault::EmptyRedis, dice.millis(0, 5_000)),
        34..=43 => (Fault::Kill(Part::Postgres), dice.millis(0, 4_000)),
        44..=53 => (Fault::Freeze(Part::Node(node)), frozen),
        54..=57 => (Fault::Freeze(Part::Redis), frozen),
        58..=61 => (Fault::Freeze(Part::Postgres), frozen),
        62..=69 if clocks => {
            let sign = if dice.percent(50) { 1 } else { -1 };
            (Fault::Clock(node, sign * 7200), dice.millis(3_000, 20_000))
        }
        other => {
            let server = [Server::Postgres, Server::Redis, Server::Mail][usize::try_from(other % 3).unwrap()];
            let node = if server == Server::Mail { worker } else { node };
            (Fault::Link(node, server, harm(dice, server)), dice.millis(1_000, 15_000))
        }
    }
}

fn harm(dice: &mut Dice, server: Server) -> Harm {
    match dice.below(if server == Server::Mail { 6 } else { 3 }) {
        0 => Harm::Reset,
        1 => Harm::Mode(Mode::Delay(dice.millis(20, 400))),
        2 => Harm::Mode(Mode::Hole),
        _ => Harm::Mode(Mode::CutAfterDot),
    }
}

/// Does all that is planned; answers what mails each time were on their way, where that matters.
pub(super) async fn inflict(cluster: &Cluster, plan: &[Planned]) -> Result<Vec<Disturbance>> {
    let start = Instant::now();
    let flights = Flights::of(cluster)?;
    let all = try_join_all(plan.iter().map(|planned| async {
        tokio::time::sleep_until(start + planned.at).await;
        if planned.fault.repeats_mail() {
            return flights.during(apply(cluster, planned)).await.map(Some);
        }
        apply(cluster, planned).await?;
        Ok(None)
    }));
    Ok(all.await?.into_iter().flatten().collect())
}

async fn apply(cluster: &Cluster, planned: &Planned) -> Result<()> {
    let time = planned.time;
    match planned.fault {
        Fault::Kill(Part::Postgres) => {
            cluster.postgres.fell("QUIT", time, Box::new(|| Ok(()))).await?;
            tokio::time::sleep(time).await;
        }
        Fault::Kill(part) => {
            keeper(cluster, part).fell("KILL", time, Box::new(|| Ok(()))).await?;
            tokio::time::sleep(time).await;
        }
        Fault::EmptyRedis => {
            cluster.redis.fell("KILL", time, cluster.empty_redis()).await?;
            tokio::time::sleep(time).await;
        }
        Fault::Freeze(part) => keeper(cluster, part).freeze(time).await?,
        Fault::Link(node, server, harm) => {
            let proxy = proxy(&cluster.nodes[node], server);
            match harm {
                Harm::Reset => proxy.reset(),
                Harm::Mode(mode) => {
                    proxy.set(mode);
                    tokio::time::sleep(time).await;
                    proxy.set(Mode::Pass);
                }
            }
        }
        Fault::Clock(node, seconds) => {
            cluster.nodes[node].set_clock(seconds)?;
            tokio::time::sleep(time).await;
            cluster.nodes[node].set_clock(0)?;
        }
    }
    Ok(())
}

fn keeper(cluster: &Cluster, part: Part) -> &Keeper {
    match part {
        Part::Node(node) => &cluster.nodes[node].keeper,
        Part::Postgres => &cluster.postgres,
        Part::Redis => &cluster.redis,
    }
}

fn proxy(node: &Node, server: Server) -> &Proxy {
    match server {
        Server::Postgres => &node.to_postgres,
        Server::Redis => &node.to_redis,
        Server::Mail => &node.to_mail,
    }
}

#[test]
fn whatever_can_be_frozen_is_frozen_for_one_to_forty_seconds() {
    let mut times: HashMap<Part, Vec<Duration>> = HashMap::new();
    for seed in 0..4_000 {
        for planned in plan(&mut Dice(seed), true) {
            if let Fault::Freeze(part) = planned.fault {
                times.entry(part).or_default().push(planned.time);
            }
        }
    }
    assert_eq!(times.len(), NODES + 2, "all processes, PostgreSQL and Redis");
    for (part, times) in times {
        for ten in 0..4 {
            let among = Duration::from_secs(10 * ten)..Duration::from_secs(10 * (ten + 1));
            assert!(times.iter().any(|time| among.contains(time)), "{part:?} is never frozen for {among:?}");
        }
        assert!(times.iter().all(|time| (Duration::from_secs(1)..=Duration::from_secs(40)).contains(time)));
    }
}

/// How often what was planned, for the report.
pub(super) fn tally(plan: &[Planned]) -> String {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for planned in plan {
        *counts.entry(planned.fault.kind()).or_default() += 1;
    }
    counts.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}
