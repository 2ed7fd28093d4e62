//! Real processes under a random load, while hosts, networks and clocks fail. The oracle is what clients were told.
//!
//! `MUSTER_CHAOS_SEED` repeats the choices of a round (not its timing); `MUSTER_CHAOS_ROUNDS` sets how many there are.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::support::dice::Dice;

mod client;
mod cluster;
mod faults;
mod follower;
mod keeper;
mod load;
mod mail;
mod oracle;
mod postgres;
mod proxy;
mod world;

use cluster::Cluster;
use follower::Follower;
use postgres::Binaries;
use world::World;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_fault_and_nothing_is_done_twice() -> Result<()> {
    let full = std::env::var_os("MUSTER_TEST_FULL").is_some();
    let given = setting("MUSTER_CHAOS_SEED");
    let rounds = setting("MUSTER_CHAOS_ROUNDS").unwrap_or(if given.is_some() {
        1
    } else if full {
        200
    } else {
        3
    });
    let binaries = Binaries::find()?;
    let template = binaries.template().await?;
    let data = template.path().join("postgres");
    for number in 0..rounds {
        let fresh = || u64::try_from(uuid::Uuid::new_v4().as_u128() >> 96).unwrap();
        let seed = given.map_or_else(fresh, |seed| seed + number);
        println!("round {} of {rounds}: MUSTER_CHAOS_SEED={seed}", number + 1);
        round(&binaries, &data, seed).await.with_context(|| format!("MUSTER_CHAOS_SEED={seed}"))?;
    }
    Ok(())
}

async fn round(binaries: &Binaries, template: &Path, seed: u64) -> Result<()> {
    let mut dice = Dice(seed);
    let cluster = Cluster::start(binaries, template).await?;
    if !cluster.fake_time {
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
        let windows = faults::inflict(&cluster, &plan).await;
        stop.cancel();
        windows
    };
    let working = async {
        load::run(&world, &cluster, dice.fork(), stop.clone()).await;
        Ok(())
    };
    let (windows, ..) = futures::try_join!(disturbed, following, subscribing, working)?;
    let time = began.elapsed().as_secs_f64();
    println!("  mutations in {time:.1} s: {}", oracle::tally(&world.clients));

    let verdict = judge(&cluster, &world, (followers, subscribers), &windows, binaries).await;
    if verdict.is_err() {
        keep(&cluster, binaries, seed).await?;
    }
    verdict?;
    cluster.end().await
}

async fn judge(
    cluster: &Cluster,
    world: &World,
    (followers, subscribers): (Vec<Follower<'_>>, Vec<Follower<'_>>),
    windows: &[faults::Window],
    binaries: &Binaries,
) -> Result<()> {
    let deaths: Vec<u32> = cluster.nodes.iter().map(|node| node.keeper.deaths()).collect();
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
    let mails = oracle::mails(cluster, &pool, &journal, windows).await?;
    pool.close().await;
    let dump = binaries.dump(&cluster.database_url).await?;
    let secrets = oracle::secrets(cluster, world, &dump)?;
    let cuts: u32 = cluster.nodes.iter().map(|node| node.to_mail.cuts()).sum();
    println!(
        "  {} mails, {} duplicates of at most {}, {cuts} cut after the dot; {asked} repeated; {secrets} secrets found \
         nowhere; ended by themselves: {deaths:?}",
        mails.all, mails.duplicates, mails.in_flight
    );
    let faults = world.clients.faults();
    ensure!(faults.is_empty(), "{} answers that no fault excuses: {:#?}", faults.len(), &faults[..faults.len().min(5)]);
    let since: Vec<u32> = cluster.nodes.iter().map(|node| node.keeper.deaths()).collect();
    ensure!(since == deaths, "processes ended while nothing was wrong: {deaths:?}, then {since:?}");
    Ok(())
}

/// Leaves the logs and the database of a failed round for whoever looks into it.
async fn keep(cluster: &Cluster, binaries: &Binaries, seed: u64) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("muster-chaos-{seed}"));
    std::fs::create_dir_all(&folder)?;
    for (node, log) in cluster.nodes.iter().zip(cluster.logs()) {
        std::fs::write(folder.join(format!("{}.log", node.keeper.name())), log)?;
    }
    std::fs::write(folder.join("database.sql"), binaries.dump(&cluster.database_url).await?)?;
    println!("  its logs and its database are in {}", folder.display());
    Ok(())
}
