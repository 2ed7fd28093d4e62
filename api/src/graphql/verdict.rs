//! Whether the viewer may do something, and why not: for frontends that disable a button.

use async_graphql::SimpleObject;
use domain::error::{Code, Detail, Error, Refused};

use super::user_error::UserErrorCode;

/// Whether the viewer may do something now. The mutation decides anew.
#[derive(SimpleObject, Clone, Debug)]
pub struct Verdict {
    /// Whether they may.
    allowed: bool,
    /// Why not.
    code: Option<UserErrorCode>,
    /// Why not, for people, in English.
    message: Option<String>,
    /// Keys of the permissions they lack.
    missing: Vec<String>,
}

impl Verdict {
    /// They may not, for a reason that no right could mend.
    pub fn no(code: Code) -> Self {
        Self::from(Err(Refused::new(code)))
    }
}

impl From<Result<(), Refused>> for Verdict {
    fn from(decided: Result<(), Refused>) -> Self {
        let Err(refused) = decided else {
            return Self { allowed: true, code: None, message: None, missing: Vec::new() };
        };
        let message = Some(refused.message());
        let missing = match &refused.detail {
            Detail::Missing(missing) => missing.iter().map(|permission| permission.key().to_owned()).collect(),
            _ => Vec::new(),
        };
        Self { allowed: false, code: Some(refused.code.into()), message, missing }
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
