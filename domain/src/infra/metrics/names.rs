//! From text to labels, without letting anybody make as many as they like.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

/// The first so many names that come, each kept for good; all later ones are `other`.
#[derive(Debug)]
pub struct Names {
    most: usize,
    known: RwLock<Option<HashSet<&'static str>>>,
}

/// Bytes of a name; longer ones are `other`.
const LONGEST: usize = 100;

impl Names {
    /// Knows none yet, and at most `most` ever.
    pub const fn new(most: usize) -> Self {
        Self { most, known: RwLock::new(None) }
    }

    /// The name, or `other`.
    pub fn of(&self, name: &str) -> &'static str {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.as_ref().and_then(|known| known.get(name)) {
            return name;
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        if let Some(name) = known.get(name) {
            return name;
        }
        if known.len() >= self.most || name.len() > LONGEST {
            return "other";
        }
        let name: &'static str = Box::leak(name.into());
        known.insert(name);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_are_kept_and_the_rest_is_other() {
        let names = Names::new(2);
        assert_eq!(["a", "b", "c", "a"].map(|name| names.of(name)), ["a", "b", "other", "a"]);
        assert_eq!(Names::new(2).of(&"x".repeat(101)), "other");
    }
}
