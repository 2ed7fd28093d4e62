//! Readers of the feeds: each keeps the cursor of the last event it has seen, asks any API for what came after, and must see every
//! event once and in order.

use std::time::Duration;

use anyhow::{Result, ensure};
use domain::id::AccountId;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::world::World;
use crate::support::dice::Dice;

const DOCUMENT: &str = "query ($after: String) { accountEvents(after: $after, first: 100) {
    edges { cursor node { number } } pageInfo { hasNextPage } } }";

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

    /// Reads to the end of a feed that nobody writes any more.
    pub(super) async fn catch_up(mut self, pool: &PgPool) -> Result<()> {
        while self.page().await? != Some(false) {}
        let newest: i64 = sqlx::query_scalar("SELECT next_seq - 1 FROM account_feed WHERE account_id = $1")
            .bind(self.account.0)
            .fetch_one(pool)
            .await?;
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
            let number = edge["node"]["number"].as_i64().unwrap_or_default();
            ensure!(number == self.last + 1, "after event {} comes event {number}", self.last);
            self.last = number;
            self.cursor = edge["cursor"].as_str().map(str::to_owned);
        }
        Ok(page["pageInfo"]["hasNextPage"].as_bool())
    }
}
