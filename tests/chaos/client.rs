//! Clients that try again under the same idempotency key, and write down what they asked for and what they were told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::dice::Dice;

/// Longer than any request may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// The beginning of the request ids of tries.
pub(super) const TRIES: &str = "c4a05000-";

/// The number of the try that comes after the load.
const AGAIN: u32 = 0xffff;

/// What names a try: a UUID, which is what is taken from a client.
fn request_id(wish: &Wish, number: u32) -> String {
    format!("{TRIES}{number:04x}-4000-8000-{}", wish.id)
}

/// What came of one try.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// It was done: the payload.
    Done(Value),
    /// It was refused: the codes.
    Refused(Vec<String>),
    /// Nobody can tell.
    Unknown(String),
}

/// What one client asked for, however often it tried.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// Twelve hexadecimal digits. The request id of each try ends with them.
    pub(super) id: String,
    pub(super) account: usize,
    pub(super) mutation: &'static str,
    /// What of the payload is asked for.
    pub(super) fields: &'static str,
    /// With the idempotency key, if the mutation takes one.
    pub(super) input: Value,
    pub(super) signed_in: bool,
}

/// A wish and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) wish: Wish,
    pub(super) tries: u32,
    pub(super) reply: Reply,
}

/// Sends wishes to the APIs.
pub(super) struct Clients {
    http: reqwest::Client,
    urls: Vec<String>,
    numbers: AtomicUsize,
    journal: Mutex<Vec<Entry>>,
    /// Answers that no fault excuses.
    faults: Mutex<Vec<String>>,
}

impl Clients {
    pub(super) fn new(urls: Vec<String>) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { http, urls, numbers: AtomicUsize::new(0), journal: Mutex::default(), faults: Mutex::default() })
    }

    /// A number that nobody else has.
    pub(super) fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn journal(&self) -> Vec<Entry> {
        self.journal.lock().unwrap().clone()
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    pub(super) fn fault(&self, fault: String) {
        self.faults.lock().unwrap().push(fault);
    }

    /// Puts a file to a signed address, at any API.
    pub(super) async fn put(&self, dice: &mut Dice, url: &str, file: &str) -> bool {
        let Ok(url) = url.parse::<reqwest::Url>() else { return false };
        for _ in 0..3 {
            let api = &self.urls[dice.index(self.urls.len())];
            let sent = self.http.put(format!("{api}{}", url.path())).body(file.to_owned()).send().await;
            if sent.is_ok_and(|answer| answer.status().is_success()) {
                return true;
            }
            tokio::time::sleep(dice.millis(100, 1000)).await;
        }
        false
    }

    /// Tries a wish until it is answered or the client loses patience, and writes it down.
    pub(super) async fn wish(&self, dice: &mut Dice, token: &str, wish: Wish) -> Entry {
        let most = 1 + u32::try_from(dice.below(6)).unwrap();
        let mut tries = 0;
        let reply = loop {
            tries += 1;
            let api = &self.urls[dice.index(self.urls.len())];
            let reply = self.attempt(api, token, &wish, &request_id(&wish, tries)).await;
            if !matches!(reply, Reply::Unknown(_)) || tries == most {
                break reply;
            }
            tokio::time::sleep(dice.millis(100, 1500)).await;
        };
        let entry = Entry { wish, tries, reply };
        self.journal.lock().unwrap().push(entry.clone());
        entry
    }

    /// Asks again for what was answered, at the first API.
    pub(super) async fn repeat(&self, token: &str, entry: &Entry) -> Reply {
        self.attempt(&self.urls[0], token, &entry.wish, &request_id(&entry.wish, AGAIN)).await
    }

    async fn attempt(&self, api: &str, token: &str, wish: &Wish, request_id: &str) -> Reply {
        let kind = format!("{}{}Input", wish.mutation[..1].to_uppercase(), &wish.mutation[1..]);
        let document = format!(
            "mutation ($input: {kind}!) {{ {}(input: $input) {{ {} userErrors {{ code }} }} }}",
            wish.mutation, wish.fields
        );
        let mut request = self.http.post(format!("{api}/graphql")).header("x-request-id", request_id);
        if wish.signed_in {
            request = request.bearer_auth(token);
        }
        let body = json!({ "query": document, "variables": { "input": wish.input } });
        let answer = async {
            let response = request.json(&body).send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>((status, response.json::<Value>().await?))
        };
        match answer.await {
            Ok((status, body)) => self.judge(wish, request_id, status, &body),
            Err(error) => Reply::Unknown(if error.is_timeout() { "timed out" } else { "cut off" }.to_owned()),
        }
    }

    fn judge(&self, wish: &Wish, request_id: &str, status: u16, body: &Value) -> Reply {
        if let Some(errors) = body.get("errors").and_then(Value::as_array) {
            let code = errors[0]["extensions"]["code"].as_str().unwrap_or_default().to_owned();
            if !["SERVICE_UNAVAILABLE", "TIMEOUT"].contains(&code.as_str()) {
                self.fault(format!("{} {request_id} was answered {status} {body}", wish.mutation));
            }
            return Reply::Unknown(code);
        }
        let payload = &body["data"][wish.mutation];
        let codes = payload["userErrors"].as_array().into_iter().flatten();
        let codes: Vec<String> = codes.filter_map(|error| Some(error["code"].as_str()?.to_owned())).collect();
        if codes.is_empty() { Reply::Done(payload.clone()) } else { Reply::Refused(codes) }
    }
}

/// Every id in a payload, in order.
pub(super) fn ids(payload: &Value) -> Vec<String> {
    match payload {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(id) if name == "id" || name.ends_with("Id") => vec![id.clone()],
                other => ids(other),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(ids).collect(),
        _ => Vec::new(),
    }
}
