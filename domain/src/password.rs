//! Passwords: argon2id, a bounded number of hashes at once, and the same work whether or not there is anything to compare.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::{Code, Error, Result};
use crate::infra::config;

/// Characters a new password needs.
pub const MINIMUM: usize = 10;

/// How long a sign-in waits for its turn before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(3);

/// Computes and compares password hashes.
#[derive(Clone, Debug)]
pub struct Passwords {
    argon: Argon2<'static>,
    places: Arc<Semaphore>,
    /// Compared with where there is no hash, so that the answer takes as long.
    nobody: Arc<str>,
}

impl Passwords {
    /// With the cost an operator set.
    ///
    /// # Panics
    /// When the parameters are outside what argon2 allows; the configuration has checked them.
    pub fn new(config: config::Password) -> Self {
        let params = Params::new(config.memory_kib, config.passes, 1, None).expect("checked by the configuration");
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = hash(&argon, "nobody's password").into();
        Self { argon, places: Arc::new(Semaphore::new(config.concurrency.max(1))), nobody }
    }

    /// Hashes a new password, in PHC form.
    pub async fn hash(&self, password: &SecretString) -> Result<String> {
        let password = password.clone();
        self.compute(move |argon| hash(argon, password.expose_secret())).await
    }

    /// Whether the password belongs to the hash. Without a hash the answer is no, after the same time.
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

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce(&Argon2<'static>) -> T + Send + 'static) -> Result<T> {
        let place = timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await.map_err(|_| Error::Busy)?;
        let place = place.expect("the semaphore is never closed");
        let argon = self.argon.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&argon);
            drop(place);
            done
        });
        Ok(done.await.expect("hashing does not panic"))
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
