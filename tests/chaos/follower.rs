//! Readers of the feeds, by query and by subscription: each keeps the cursor of the last event it has seen, asks any API for what
//! came after, again and again, and must see every event once and in order.

use std::time::Duration;

use anyhow::{Result, ensure};
use domain::id::AccountId;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::world::World;
use crate::support::dice::Dice;
use crate::support::socket::Socket;

const DOCUMENT: &str = "query ($after: String) { accountEvents(after: $after, first: 100) {
    edges { cursor node { number } } pageInfo { hasNextPage } } }";

const SUBSCRIPTION: &str = "subscription ($after: String) { accountEvents(after: $after) { cursor number } }";

/// A socket on which nothing happens for so long is given up.
const SILENCE: Duration = Duration::from_secs(10);

/// Somebody who follows an account.
pub(super) struct Follower<'a> {
    account: AccountId,
    token: &'a str,
    urls: Vec<String>,
    http: reqwest::Client,
    dice: Dice,
    cursor: Option<String>,
    last: i64,
}

impl<'a> Follower<'a> {
    /// One of each account.
    pub(super) fn of(world: &'a World, cluster: &Cluster, dice: &mut Dice) -> Result<Vec<Self>> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(8)).build()?;
        let follow = |account: &'a super::world::Account| Self {
            account: account.id,
            token: &account.token,
            urls: cluster.urls(),
            http: http.clone(),
            dice: dice.fork(),
            cursor: None,
            last: 0,
        };
        Ok(world.accounts.iter().map(follow).collect())
    }

    /// Reads on until `stop`.
    pub(super) async fn follow(&mut self, stop: &CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            // Whatever failed is asked for again.
            let more = self.page().await?.unwrap_or(false);
            if !more {
                stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(300))).await;
            }
        }
        Ok(())
    }

    /// Reads on by subscription until `stop`, or until it has seen event `newest`.
    pub(super) async fn subscribe(&mut self, stop: &CancellationToken, newest: Option<i64>) -> Result<()> {
        // What happened before a subscription begins is not told unless there is a cursor.
        while self.cursor.is_none() && !stop.is_cancelled() {
            self.page().await?;
        }
        while !stop.is_cancelled() && newest != Some(self.last) {
            let Ok(Ok(mut socket)) = tokio::time::timeout(SILENCE, self.enter()).await else {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            while newest != Some(self.last) {
                let next = stop.run_until_cancelled(tokio::time::timeout(SILENCE, socket.next())).await;
                let Some(Ok(Ok(message))) = next else { break };
                let event = &message["payload"]["data"]["accountEvents"];
                if message["type"] != "next" || !event.is_object() {
                    break;
                }
                self.saw(event["number"].as_i64(), &event["cursor"])?;
            }
        }
        Ok(())
    }

    /// A subscription from the cursor on, at any API.
    async fn enter(&mut self) -> Result<Socket> {
        let mut socket = Socket::open(&self.urls[self.dice.index(self.urls.len())], &[]).await?;
        socket.init(json!({ "authorization": format!("Bearer {}", self.token) })).await?;
        ensure!(socket.next().await?["type"] == "connection_ack", "the socket is refused");
        socket.subscribe("feed", SUBSCRIPTION, json!({ "after": self.cursor })).await?;
        Ok(socket)
    }

    fn saw(&mut self, number: Option<i64>, cursor: &Value) -> Result<()> {
        ensure!(number == Some(self.last + 1), "after event {} comes event {number:?}", self.last);
        self.last += 1;
        self.cursor = cursor.as_str().map(str::to_owned);
        Ok(())
    }

    /// The number of the last event there is.
    async fn newest(&self, pool: &PgPool) -> Result<i64> {
        let newest = sqlx::query_scalar("SELECT next_seq - 1 FROM account_feed WHERE account_id = $1");
        Ok(newest.bind(self.account.0).fetch_one(pool).await?)
    }

    /// Subscribes to the end of a feed that nobody writes any more.
    pub(super) async fn catch_up_live(mut self, pool: &PgPool) -> Result<()> {
        let newest = self.newest(pool).await?;
        let forever = CancellationToken::new();
        let caught_up = tokio::time::timeout(Duration::from_mins(1), self.subscribe(&forever, Some(newest))).await;
        ensure!(caught_up.is_ok(), "the feed ends at {newest}, its subscriber at {}", self.last);
        caught_up?
    }

    /// Reads to the end of a feed that nobody writes any more.
    pub(super) async fn catch_up(mut self, pool: &PgPool) -> Result<()> {
        while self.page().await? != Some(false) {}
        let newest = self.newest(pool).await?;
        ensure!(self.last == newest, "the feed ends at {newest}, its reader at {}", self.last);
        Ok(())
    }

    /// The next page; whether there is more after it, or nothing if no API answered.
    async fn page(&mut self) -> Result<Option<bool>> {
        let url = format!("{}/graphql", self.urls[self.dice.index(self.urls.len())]);
        let body = json!({ "query": DOCUMENT, "variables": { "after": self.cursor } });
        let answer = async {
            let sent = self.http.post(url).bearer_auth(self.token).json(&body).send().await?;
            sent.json::<Value>().await
        };
        let Ok(answer) = answer.await else { return Ok(None) };
        if answer.get("errors").is_some() {
            return Ok(None);
        }
        let page = &answer["data"]["accountEvents"];
        for edge in page["edges"].as_array().into_iter().flatten() {
            self.saw(edge["node"]["number"].as_i64(), &edge["cursor"])?;
        }
        Ok(page["pageInfo"]["hasNextPage"].as_bool())
    }
}
