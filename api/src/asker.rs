//! Who asks, as far as that is known before anybody is looked up: whose share of the places a request takes, see
//! [`crate::admission`].

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::error::Error;
use domain::id::UserId;
use domain::infra::secret::{Purpose, Token};
use domain::rate;
use lru::LruCache;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    /// Somebody signed in, with all their sessions.
    User(UserId),
    /// Whoever else asks from a network.
    Network(Box<str>),
}

impl Asker {
    /// Anybody at a network address.
    pub fn at(address: IpAddr) -> Self {
        Self::Network(rate::network(Some(address)).into())
    }
}

/// Whose tokens are, by their hashes: only of those that were valid when they were last looked up, because each token that somebody
/// makes up would otherwise be another asker.
#[derive(Debug)]
pub struct Askers(Mutex<LruCache<Vec<u8>, UserId>>);

impl Default for Askers {
    fn default() -> Self {
        const ENTRIES: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");
        Self(Mutex::new(LruCache::new(ENTRIES)))
    }
}

impl Askers {
    /// Who shows a token, or nothing, at a network address.
    pub fn of(&self, token: Option<&str>, address: IpAddr) -> Asker {
        let user = token.and_then(hash).and_then(|hash| self.lock().get(&hash).copied());
        user.map_or_else(|| Asker::at(address), Asker::User)
    }

    /// Takes note of what became of looking a token up.
    pub fn learn(&self, token: &str, user: Result<UserId, &Error>) {
        let Some(hash) = hash(token) else { return };
        match user {
            Ok(user) => self.lock().put(hash, user),
            Err(Error::Unauthenticated) => self.lock().pop(&hash),
            // Says nothing about the token.
            Err(_) => None,
        };
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Vec<u8>, UserId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(token: &str) -> Option<Vec<u8>> {
    Token::parse(Purpose::Session, token).map(|token| token.hash())
}

#[cfg(test)]
mod tests {
    use domain::id::AccountId;

    use super::*;

    #[test]
    fn only_a_token_that_was_valid_is_another_asker() {
        let askers = Askers::default();
        let address: IpAddr = "203.0.113.9".parse().unwrap();
        let tokens = [(); 3].map(|()| Token::random(Purpose::Session, Some(AccountId::new())).expose());
        let network = askers.of(None, address);
        assert!(tokens.iter().all(|token| askers.of(Some(token), address) == network), "made up, as far as is known");
        let (ada, ben) = (UserId::new(), UserId::new());
        for (token, user) in tokens.iter().zip([ada, ada, ben]) {
            askers.learn(token, Ok(user));
            assert_eq!(askers.of(Some(token), "2001:db8::1".parse().unwrap()), Asker::User(user));
        }
        assert_eq!(askers.of(None, address), network);
        askers.learn(&tokens[0], Err(&Error::Busy));
        assert_eq!(askers.of(Some(&tokens[0]), address), Asker::User(ada), "not looked up");
        askers.learn(&tokens[0], Err(&Error::Unauthenticated));
        assert_eq!(askers.of(Some(&tokens[0]), address), network, "it has ended");
        assert_eq!(askers.of(Some(&tokens[1]), address), Asker::User(ada));
        askers.learn("made up", Ok(ada));
        assert_eq!(askers.of(Some("made up"), address), network, "no token of a session");
    }

    #[test]
    fn a_network_is_that_of_a_customer() {
        let at = |address: &str| Asker::at(address.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::2:0:0:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:203.0.113.9"), at("203.0.113.9"));
        assert_ne!(at("203.0.113.8"), at("203.0.113.9"));
    }
}
