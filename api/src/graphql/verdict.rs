//! Whether something that a frontend offers would be allowed, and why not.

use async_graphql::SimpleObject;
use domain::error::{Code, Detail, Error, Refused};

use super::user_error::UserErrorCode;

/// Whether the viewer may do something, decided as the mutation itself would decide by rights and status. Fields that it takes, seats
/// and successors are not looked at.
#[derive(SimpleObject, Clone, Debug)]
pub struct Verdict {
    /// Whether they may.
    allowed: bool,
    /// Why not; null if they may.
    code: Option<UserErrorCode>,
    /// Why not, and what to do, for people; null if they may.
    message: Option<String>,
    /// Keys of the permissions that are missing, where that is why.
    missing: Vec<String>,
}

impl Verdict {
    /// They may not, for a reason that no right could mend.
    pub fn no(code: Code) -> Self {
        Self::from(Err(Refused::new(code)))
    }
}

impl From<domain::error::Result<()>> for Verdict {
    fn from(decided: domain::error::Result<()>) -> Self {
        let refused = match decided {
            Ok(()) => return Self::from(Ok::<(), Refused>(())),
            Err(Error::Refused(mut list)) if !list.is_empty() => list.swap_remove(0),
            Err(_) => Refused::new(Code::NotPermitted),
        };
        Self::from(Err(refused))
    }
}

impl From<Result<(), Refused>> for Verdict {
    fn from(verdict: Result<(), Refused>) -> Self {
        let Err(refused) = verdict else {
            return Self { allowed: true, code: None, message: None, missing: Vec::new() };
        };
        let missing = match &refused.detail {
            Detail::Missing(missing) => missing.iter().map(|permission| permission.key().to_owned()).collect(),
            _ => Vec::new(),
        };
        Self { allowed: false, message: Some(refused.message()), code: Some(refused.code.into()), missing }
    }
}
