//! The accounts that are worked in, founded before anything is disturbed, and what clients know of them.

use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use domain::id::AccountId;
use serde_json::{Value, json};

use super::client::{Clients, Entry, Reply, Wish};
use super::cluster::Cluster;
use crate::support::dice::Dice;

/// Everybody's password, which must turn up nowhere.
pub(super) const PASSWORD: &str = "canary-chaos-Xq7-horse-battery";

/// Seats of the accounts: some have too few by far.
const SEATS: [u32; 4] = [12, 25, 60, 2000];

/// Somebody who was invited.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) invitation: String,
    pub(super) member: String,
}

/// An account and its owner.
pub(super) struct Account {
    pub(super) id: AccountId,
    /// The owner's session.
    pub(super) token: String,
    pub(super) places: Mutex<Vec<Place>>,
}

/// What all clients share.
pub(super) struct World {
    pub(super) clients: Clients,
    pub(super) accounts: Vec<Account>,
    /// Mails with invitations that nobody has opened: account, address and token.
    pub(super) letters: Mutex<Vec<(String, String)>>,
    /// Mails that were looked through.
    pub(super) read: Mutex<usize>,
    /// Tokens that no mail holds.
    pub(super) secrets: Mutex<Vec<String>>,
    /// Addresses that have a login.
    pub(super) logins: Mutex<Vec<String>>,
}

impl World {
    /// Founds the accounts, by mail as people do.
    pub(super) async fn found(cluster: &Cluster) -> Result<Self> {
        let clients = Clients::new(cluster.urls())?;
        let mut accounts = Vec::new();
        for (number, seats) in SEATS.into_iter().enumerate() {
            accounts.push(found(cluster, &clients, number, seats).await?);
        }
        let secrets = accounts.iter().map(|account| account.token.clone()).collect();
        Ok(Self {
            clients,
            accounts,
            letters: Mutex::default(),
            read: Mutex::new(0),
            secrets: Mutex::new(secrets),
            logins: Mutex::default(),
        })
    }

    /// Takes the oldest mail with an invitation that nobody has opened.
    pub(super) fn letter(&self, cluster: &Cluster, dice: &mut Dice) -> Option<(String, String)> {
        let mut letters = self.letters.lock().unwrap();
        let mut read = self.read.lock().unwrap();
        let (all, new) = cluster.mail.links(*read, "invitation");
        *read = all;
        letters.extend(new);
        if letters.is_empty() {
            return None;
        }
        let index = dice.index(letters.len());
        Some(letters.swap_remove(index))
    }
}

async fn found(cluster: &Cluster, clients: &Clients, number: usize, seats: u32) -> Result<Account> {
    let mut dice = Dice(0);
    let email = format!("owner{number}@harborandfinch.example");
    let mut ask = async |mutation, fields, input| {
        let id = format!("found{number}");
        let wish = Wish { id, account: number, mutation, fields, input, signed_in: false };
        match clients.wish(&mut dice, "", wish).await {
            Entry { reply: Reply::Done(payload), .. } => Ok(payload),
            other => anyhow::bail!("{other:?}"),
        }
    };
    let person = json!({ "accountName": format!("Firm {number}"), "firstName": "Olivia", "lastName": "Harbor",
                         "email": email, "password": PASSWORD });
    ask("signUp", "accepted", person).await?;
    let token = loop {
        let (_, links) = cluster.mail.links(0, "sign-up");
        if let Some((_, token)) = links.into_iter().find(|(to, _)| *to == email) {
            break token;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let confirmed = ask("signUpConfirm", "accountId", json!({ "token": token })).await?;
    let id = confirmed["accountId"].as_str().context("an account")?.to_owned();
    let session = ask("sessionCreate", "token", json!({ "email": email, "password": PASSWORD })).await?;
    let token = session["token"].as_str().context("a session")?.to_owned();
    let set = cluster.run(&["seats", "set", &id, &seats.to_string()]).await?;
    ensure!(set.contains("granted"), "{set}");
    Ok(Account { id: id.parse()?, token, places: Mutex::default() })
}

impl Account {
    /// Notes who was invited.
    pub(super) fn note(&self, payload: &Value) {
        let invitations = payload["invitations"].as_array().into_iter().flatten();
        let places = invitations.filter_map(|invitation| {
            Some(Place {
                invitation: invitation["id"].as_str()?.to_owned(),
                member: invitation["member"]["id"].as_str()?.to_owned(),
            })
        });
        self.places.lock().unwrap().extend(places);
    }

    /// Somebody who was invited, the later ones more often.
    pub(super) fn place(&self, dice: &mut Dice) -> Option<Place> {
        let places = self.places.lock().unwrap();
        let from = if dice.percent(50) { places.len().saturating_sub(10) } else { 0 };
        dice.pick(&places[from..]).cloned()
    }
}
