//! Real processes under a random load, while hosts, networks and clocks fail. The oracle is what clients were told.
//!
//! `MUSTER_TEST_CHAOS_SEED` repeats the choices of a round (not its timing); `MUSTER_TEST_CHAOS_ROUNDS` sets how many there are.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::support::dice::Dice;
use crate::support::server::Postgres;

mod client;
mod cluster;
mod contents;
mod faults;
mod flight;
mod follower;
mod keeper;
mod load;
mod mail;
mod oracle;
mod postgres;
mod proxy;
mod world;

use cluster::Cluster;
use contents::Contents;
use flight::Disturbance;
use follower::Follower;
use world::World;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_fault_and_nothing_is_done_twice() -> Result<()> {
    let full = is_full();
    let given = setting("MUSTER_TEST_CHAOS_SEED");
    let rounds = setting("MUSTER_TEST_CHAOS_ROUNDS").unwrap_or(if given.is_some() {
        1
    } else if full {
        200
    } else {
        3
    });
    let programs = Postgres::find()?;
    let template = postgres::template(&programs).await?;
    let data = template.path().join("postgres");
    for number in 0..rounds {
        let fresh = || u64::try_from(uuid::Uuid::new_v4().as_u128() >> 96).unwrap();
        let seed = given.map_or_else(fresh, |seed| seed + number);
        println!("round {} of {rounds}: MUSTER_TEST_CHAOS_SEED={seed}", number + 1);
        round(&programs, &data, seed).await.with_context(|| format!("MUSTER_TEST_CHAOS_SEED={seed}"))?;
    }
    Ok(())
}

/// Whether the counts of the issue are wanted.
fn is_full() -> bool {
    std::env::var_os("MUSTER_TEST_FULL").is_some()
}

async fn round(programs: &Postgres, template: &Path, seed: u64) -> Result<()> {
    let mut dice = Dice(seed);
    let cluster = Cluster::start(programs, template).await?;
    if !cluster.fake_time {
        // A run that is to show everything does not leave a kind of fault out.
        ensure!(!is_full(), "the clocks cannot be moved: install the package faketime");
        println!("the clocks are left alone: the package faketime is not installed");
    }
    let world = World::found(&cluster).await?;
    let plan = faults::plan(&mut dice, cluster.fake_time);
    println!("  faults: {}", faults::tally(&plan));
    let began = tokio::time::Instant::now();

    let stop = CancellationToken::new();
    let mut followers = Follower::of(&world, &cluster, &mut dice)?;
    let mut subscribers = Follower::of(&world, &cluster, &mut dice)?;
    let following = try_join_all(followers.iter_mut().map(|follower| follower.follow(&stop)));
    let subscribing = try_join_all(subscribers.iter_mut().map(|subscriber| subscriber.subscribe(&stop, None)));
    let disturbed = async {
        let disturbances = faults::inflict(&cluster, &plan).await;
        stop.cancel();
        disturbances
    };
    let mut redis = Contents::default();
    let watching = async {
        redis.watch(&cluster.redis_url, &stop).await;
        Ok(())
    };
    let working = async {
        load::run(&world, &cluster, dice.fork(), stop.clone()).await;
        Ok(())
    };
    let (disturbances, ..) = futures::try_join!(disturbed, following, subscribing, working, watching)?;
    let time = began.elapsed().as_secs_f64();
    println!("  mutations in {time:.1} s: {}", oracle::tally(&world.clients));

    let verdict = judge(&cluster, &world, (followers, subscribers), &disturbances, (redis, programs)).await;
    if verdict.is_err() {
        keep(&cluster, programs, seed).await?;
    }
    verdict?;
    cluster.end().await
}

async fn judge(
    cluster: &Cluster,
    world: &World,
    (followers, subscribers): (Vec<Follower<'_>>, Vec<Follower<'_>>),
    disturbances: &[Disturbance],
    (mut redis, programs): (Contents, &Postgres),
) -> Result<()> {
    let pool = PgPool::connect(&cluster.database_url).await?;
    let time = oracle::settle(cluster, &pool).await?;
    println!("  settled after {:.1} s", time.as_secs_f64());
    let journal = world.clients.journal();
    oracle::rules(cluster, &pool).await?;
    oracle::exist(&pool, &journal).await?;
    oracle::effects(&pool, &journal).await?;
    let asked = oracle::replays(world, &journal).await?;
    oracle::settle(cluster, &pool).await?;
    oracle::rules(cluster, &pool).await?;
    oracle::effects(&pool, &journal).await?;
    oracle::imports(&pool).await?;
    for follower in followers {
        follower.catch_up(&pool).await?;
    }
    for subscriber in subscribers {
        subscriber.catch_up_live(&pool).await?;
    }
    let mails = oracle::mails(cluster, &pool, &journal, disturbances).await?;
    pool.close().await;
    let dump = postgres::dump(programs, &cluster.database_url).await?;
    redis.look(&cluster.redis_url).await?;
    let (secrets, values) = oracle::secrets(cluster, world, &dump, &redis)?;
    println!(
        "  {} mails, {} duplicates; at faults {} were claimed, {} under way; {} cut after the dot; {asked} repeated; \
         {secrets} secrets nowhere, not in {values} values of Redis",
        mails.all, mails.duplicates, mails.claimed, mails.under_way, mails.cuts
    );
    let faults = world.clients.faults();
    ensure!(faults.is_empty(), "{} answers that no fault excuses: {:#?}", faults.len(), &faults[..faults.len().min(5)]);
    let ended = cluster.ended_by_themselves();
    ensure!(ended.is_empty(), "no outage ends a process that nobody kills: {ended:?}");
    Ok(())
}

/// Leaves the logs and the database of a failed round for whoever looks into it.
async fn keep(cluster: &Cluster, programs: &Postgres, seed: u64) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("muster-chaos-{seed}"));
    std::fs::create_dir_all(&folder)?;
    for (node, log) in cluster.nodes.iter().zip(cluster.logs()) {
        std::fs::write(folder.join(format!("{}.log", node.keeper.name())), log)?;
    }
    std::fs::write(folder.join("database.sql"), postgres::dump(programs, &cluster.database_url).await?)?;
    println!("  its logs and its database are in {}", folder.display());
    Ok(())
}
