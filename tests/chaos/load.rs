//! What clients do: valid mutations of every kind, at any of the APIs.

use std::fmt::Write as _;

use domain::permission::SystemRole;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::client::{Entry, Reply, Wish};
use super::cluster::Cluster;
use super::world::{Account, PASSWORD, World};
use crate::support::dice::Dice;

/// Clients at once.
const CLIENTS: usize = 8;

/// Lets clients work until they are told to stop; each ends what it has begun.
pub(super) async fn run(world: &World, cluster: &Cluster, mut dice: Dice, stop: CancellationToken) {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut dice, stop) = (dice.fork(), stop.clone());
            async move {
                while !stop.is_cancelled() {
                    let account = dice.index(world.accounts.len());
                    Step { world, cluster, account, dice: &mut dice }.take().await;
                    let pause = dice.millis(50, 250);
                    stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
            }
        })
        .collect();
    join_all(clients).await;
}

struct Step<'a> {
    world: &'a World,
    cluster: &'a Cluster,
    account: usize,
    dice: &'a mut Dice,
}

impl Step<'_> {
    async fn take(mut self) {
        match self.dice.below(24) {
            0..=5 => self.invite(1, true).await,
            6 => {
                let many = 2 + self.dice.below(8);
                self.invite(many, true).await;
            }
            7 => self.invite(1, false).await,
            8..=12 => self.accept().await,
            13 => self.import().await,
            14 => self.reset_password().await,
            other => self.manage(other).await,
        }
    }

    fn account(&self) -> &Account {
        &self.world.accounts[self.account]
    }

    async fn ask(&mut self, mutation: &'static str, fields: &'static str, mut input: Value, signed_in: bool) -> Entry {
        let id = format!("{:012x}", self.world.clients.number());
        if signed_in {
            input["idempotencyKey"] = json!(id);
        }
        let wish = Wish { id, account: self.account, mutation, fields, input, signed_in };
        let account = &self.world.accounts[self.account];
        self.world.clients.wish(self.dice, &account.token, wish).await
    }

    fn fresh_address(&self) -> String {
        format!("p{}@work.example", self.world.clients.number())
    }

    async fn invite(&mut self, many: u64, send: bool) {
        let role = SystemRole::Standard.id().to_string();
        let items = (0..many).map(|_| json!({ "email": self.fresh_address(), "roleIds": [role] }));
        let input = json!({ "invitations": items.collect::<Vec<_>>(), "send": send });
        let entry = self.ask("memberInvite", "invitations { id member { id } }", input, true).await;
        match &entry.reply {
            Reply::Done(payload) => self.account().note(payload),
            // The addresses are new: nobody else can have invited them.
            Reply::Refused(codes) if codes.iter().any(|code| code != "SEAT_SHORTAGE") => {
                self.world.clients.fault(format!("{entry:?}"));
            }
            _ => {}
        }
    }

    async fn accept(&mut self) {
        let Some((email, token)) = self.world.letter(self.cluster, self.dice) else { return };
        let input = json!({ "token": token, "firstName": "Jo", "lastName": "Doe", "password": PASSWORD });
        let entry = self.ask("invitationAccept", "accountId memberId", input, false).await;
        if matches!(entry.reply, Reply::Done(_)) {
            self.world.logins.lock().unwrap().push(email);
        }
    }

    async fn import(&mut self) {
        let made = self.ask("uploadCreate", "upload { id url }", json!({ "fileName": "members.csv" }), true).await;
        let Reply::Done(upload) = made.reply else { return };
        // A repetition does not show the address again.
        let (Some(id), Some(url)) = (upload["upload"]["id"].as_str(), upload["upload"]["url"].as_str()) else { return };
        let token = url.rsplit(['/', '.']).next().unwrap_or_default().to_owned();
        self.world.secrets.lock().unwrap().push(token);
        let mut file = String::from("email,first_name,last_name,subscription_type\n");
        for row in 0..20 + self.dice.below(60) {
            let _ = writeln!(file, "{},Pat,Number{row},Attorney", self.fresh_address());
        }
        if !self.world.clients.put(self.dice, url, &file).await {
            return;
        }
        let input = json!({ "uploadId": id, "sendWelcomeEmail": self.dice.percent(30) });
        self.ask("memberImportCreate", "memberImport { id }", input, true).await;
    }

    async fn reset_password(&mut self) {
        let logins = self.world.logins.lock().unwrap().clone();
        let Some(email) = self.dice.pick(&logins) else { return };
        self.ask("passwordResetRequest", "accepted", json!({ "email": email }), false).await;
    }

    /// Something with somebody who was invited, which may be refused for what became of them.
    async fn manage(&mut self, which: u64) {
        let Some(place) = self.world.accounts[self.account].place(self.dice) else { return };
        let member = json!({ "memberId": place.member });
        let role = if self.dice.percent(50) { SystemRole::Standard } else { SystemRole::Auditor };
        let address = self.fresh_address();
        let invitation = json!({ "invitationIds": [place.invitation] });
        let (mutation, fields, input) = match which {
            15 => ("invitationResend", "invitations { id }", invitation),
            16 => ("invitationSend", "invitations { id }", invitation),
            17 => ("invitationRevoke", "invitation { id }", json!({ "invitationId": place.invitation })),
            18 => {
                let input = json!({ "invitationId": place.invitation, "email": address });
                ("invitationUpdate", "invitation { id }", input)
            }
            19 => ("memberSuspend", "member { id }", member),
            20 => ("memberActivate", "member { id }", member),
            21 => ("memberDeactivate", "member { id }", member),
            22 => ("memberReactivate", "member { id }", member),
            _ => {
                let input = json!({ "memberId": place.member, "roleIds": [role.id().to_string()] });
                ("memberAssignRoles", "member { id }", input)
            }
        };
        self.ask(mutation, fields, input, true).await;
    }
}
