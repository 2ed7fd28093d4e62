//! Passwords: argon2id, computed by a few threads of low priority, and the same work whether or not there is anything to compare.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::{Code, Error, Result};
use crate::infra::config;

/// Characters a new password needs.
pub const MINIMUM: usize = 10;

/// Passwords that wait for a thread; whoever comes then is told to come again at once. Fewer than the requests that are worked on
/// at once: each of these holds a place among them.
const WAITING: usize = 32;

/// How long somebody waits for their hash, before they are told to come again.
const PATIENCE: Duration = Duration::from_secs(3);

/// How far the threads stand back behind all others, in the units of nice(2): a flood of sign-ins slows nobody else.
const NICENESS: i32 = 10;

/// What a thread is to do.
type Work = Box<dyn FnOnce(&Argon2<'static>) + Send>;

/// Computes and compares password hashes.
#[derive(Clone, Debug)]
pub struct Passwords {
    cost: Params,
    queue: SyncSender<Work>,
    /// Compared with where there is no hash, so that the answer takes as long.
    nobody: Arc<str>,
}

impl Passwords {
    /// With the cost an operator set.
    ///
    /// # Panics
    /// When the parameters are outside what argon2 allows, which the configuration has checked, or no thread can be started.
    pub fn new(config: config::Password) -> Self {
        let params = Params::new(config.memory_kib, config.passes, 1, None).expect("checked by the configuration");
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        let nobody = hash(&argon, "nobody's password").into();
        let threads = config.concurrency.max(1);
        let (queue, work) = sync_channel(WAITING);
        let work = Arc::new(Mutex::new(work));
        for number in 0..threads {
            let (argon, work) = (argon.clone(), Arc::clone(&work));
            let thread = std::thread::Builder::new().name(format!("password-{number}"));
            thread.spawn(move || compute_all(&argon, &work)).expect("a thread can be started");
        }
        Self { cost: params, queue, nobody }
    }

    /// Hashes a new password, in PHC form.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait.
    pub async fn hash(&self, password: &SecretString) -> Result<String> {
        let password = password.clone();
        self.compute(move |argon| hash(argon, password.expose_secret())).await
    }

    /// Whether the password belongs to the hash. Without a hash the answer is no, after the same time.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait.
    pub async fn verify(&self, password: &SecretString, stored: Option<&str>) -> Result<bool> {
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.nobody).to_owned();
        let password = password.clone();
        let equal = self
            .compute(move |argon| {
                let parsed = PasswordHash::new(&stored);
                parsed.is_ok_and(|parsed| argon.verify_password(password.expose_secret().as_bytes(), &parsed).is_ok())
            })
            .await?;
        Ok(equal && known)
    }

    /// Hashes a password again that is known to belong to the hash, if that was computed at another cost than the set one.
    /// `None`: it is as it should be, or too many wait; then the next sign-in does it.
    pub async fn renew(&self, password: &SecretString, stored: &str) -> Option<String> {
        if self.is_current(stored) { None } else { self.hash(password).await.ok() }
    }

    /// Whether a hash was computed at the set cost: only then comparing takes as long as it does for an unknown address.
    fn is_current(&self, stored: &str) -> bool {
        let Ok(parsed) = PasswordHash::new(stored) else { return false };
        let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        let same = Params::try_from(&parsed).is_ok_and(|params| cost(&params) == cost(&self.cost));
        same && parsed.algorithm == Algorithm::Argon2id.ident() && parsed.version == Some(Version::V0x13.into())
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce(&Argon2<'static>) -> T + Send + 'static) -> Result<T> {
        let (answer, done) = oneshot::channel();
        let work = Box::new(move |argon: &Argon2<'static>| {
            // Nobody waits any more when the request was ended.
            if !answer.is_closed() {
                let _ = answer.send(work(argon));
            }
        });
        self.queue.try_send(work).map_err(|_| Error::Busy)?;
        timeout(PATIENCE, done).await.ok().and_then(std::result::Result::ok).ok_or(Error::Busy)
    }
}

/// A thread's life: it ends with the last [`Passwords`].
fn compute_all(argon: &Argon2<'static>, work: &Mutex<Receiver<Work>>) {
    // On Linux this concerns the calling thread only. Not being allowed to costs fairness, nothing else.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "password hashes run at normal priority");
    }
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(next) = next else { return };
        // A hash that panics (out of memory) must not take the thread with it: nobody could sign in any more.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| next(argon)));
    }
}

fn hash(argon: &Argon2<'_>, password: &str) -> String {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the operating system gives random bytes");
    let hash = argon
        .hash_password_with_salt(password.as_bytes(), &salt)
        .expect("the parameters are valid and the salt is long enough");
    hash.to_string()
}

/// Refuses a password nobody should choose.
pub fn check_new(password: &SecretString, email: &str) -> Result<()> {
    let text = password.expose_secret();
    let length = text.chars().count();
    if length < MINIMUM {
        return Err(Code::PasswordTooShort.into());
    }
    if length > 256 {
        return Err(Code::PasswordTooLong.into());
    }
    let folded = text.to_lowercase();
    let mut distinct: Vec<char> = folded.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < 5
        || folded == email
        || "0123456789012345678901234567890".contains(&folded)
        || COMMON.contains(&folded.as_str())
    {
        return Err(Code::PasswordTooWeak.into());
    }
    Ok(())
}

/// The most common passwords of at least ten characters in published leaks.
const COMMON: &[&str] = &[
    "1q2w3e4r5t",
    "qwertyuiop",
    "1qaz2wsx3edc",
    "password123",
    "password1234",
    "qwerty123456",
    "iloveyou123",
    "1q2w3e4r5t6y",
    "q1w2e3r4t5y6",
    "passwordpassword",
    "administrator",
    "changemenow",
    "letmein123",
    "welcome123",
    "welcome1234",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn quick() -> Passwords {
        Passwords::new(config::Password { memory_kib: 64, passes: 1, concurrency: 2 })
    }

    #[tokio::test]
    async fn verifies_its_own_hashes_only() {
        let passwords = quick();
        let right = SecretString::from("correct horse battery");
        let stored = passwords.hash(&right).await.expect("hash");
        assert!(stored.starts_with("$argon2id$"));
        assert!(passwords.verify(&right, Some(&stored)).await.expect("verify"));
        assert!(!passwords.verify(&SecretString::from("wrong horse battery"), Some(&stored)).await.expect("verify"));
        assert!(
            !passwords.verify(&SecretString::from("nobody's password"), None).await.expect("verify"),
            "nobody signs in as nobody"
        );
    }

    #[tokio::test]
    async fn hashes_anew_what_was_hashed_at_another_cost() {
        let (old, new) = (quick(), Passwords::new(config::Password { memory_kib: 128, passes: 1, concurrency: 1 }));
        let password = SecretString::from("correct horse battery");
        let stored = old.hash(&password).await.expect("hash");
        assert_eq!(old.renew(&password, &stored).await, None);
        let renewed = new.renew(&password, &stored).await.expect("another cost");
        assert!(renewed.contains("m=128") && new.verify(&password, Some(&renewed)).await.expect("verify"));
        assert_eq!(new.renew(&password, &renewed).await, None);
    }

    #[tokio::test]
    async fn refuses_at_once_what_would_wait_too_long() {
        let passwords = Passwords::new(config::Password { memory_kib: 64, passes: 1, concurrency: 1 });
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let blocked = passwords.compute(move |_| wait.recv());
        let mut blocked = std::pin::pin!(blocked);
        assert!(futures::poll!(blocked.as_mut()).is_pending());
        let secret = SecretString::from("correct horse battery");
        let mut waiting: Vec<_> = (0..=WAITING).map(|_| Box::pin(passwords.hash(&secret))).collect();
        let mut refused = 0;
        for hash in &mut waiting {
            if let std::task::Poll::Ready(answer) = futures::poll!(hash) {
                assert!(matches!(answer, Err(Error::Busy)), "{answer:?}");
                refused += 1;
            }
        }
        // The thread may have taken the first from the queue already, or not.
        assert!((1..=2).contains(&refused), "{refused} were refused");
        go.send(()).expect("the thread waits");
        assert!(blocked.await.is_ok());
    }

    #[test]
    fn refuses_what_is_easily_guessed() {
        let code = |text: &str| match check_new(&SecretString::from(text), "ada@example.com") {
            Err(Error::Refused(list)) => Some(list[0].code),
            _ => None,
        };
        assert_eq!(code("short"), Some(Code::PasswordTooShort));
        assert_eq!(code(&"x1".repeat(129)), Some(Code::PasswordTooLong));
        for weak in ["aaaaaaaaaaaa", "1234567890", "Password123", "ada@example.com"] {
            assert_eq!(code(weak), Some(Code::PasswordTooWeak), "{weak}");
        }
        assert_eq!(code("correct horse battery"), None);
    }
}
