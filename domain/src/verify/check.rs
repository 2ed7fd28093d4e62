//! A check: a statement that answers the rows which break a rule.

use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Level;

/// A row that breaks a rule.
#[derive(Debug)]
pub(super) struct Row {
    /// The account it belongs to, if any.
    pub(super) account_id: Option<Uuid>,
    /// What to find it by: an object of ids, numbers and states.
    pub(super) facts: Value,
    /// How many rows break the rule, of which the statement answers the first.
    pub(super) total: i64,
}

/// Reads the rows that break a rule, of these accounts; those of the whole installation are read without any.
type Read = for<'c> fn(&'c mut PgConnection, &'c [Uuid]) -> BoxFuture<'c, sqlx::Result<Vec<Row>>>;

/// A rule, and the statement that finds what breaks it.
#[derive(Clone, Copy)]
pub(super) struct Check {
    /// As reported: `area.rule`.
    pub(super) name: &'static str,
    /// What holds, in a sentence.
    pub(super) rule: &'static str,
    /// What it means when it does not.
    pub(super) level: Level,
    /// Finds the rows.
    pub(super) read: Read,
}

/// Checks from statements that select `(account_id, facts)`: `of_accounts` those with `account_id = ANY($1)`.
macro_rules! checks {
    (of_accounts $($level:ident $name:literal $rule:literal $sql:literal)*) => {
        $crate::verify::check::checks!(@list [accounts => accounts] $($level $name $rule $sql)*);
    };
    (of_installation $($level:ident $name:literal $rule:literal $sql:literal)*) => {
        $crate::verify::check::checks!(@list [_accounts =>] $($level $name $rule $sql)*);
    };
    (@list $bound:tt $($level:ident $name:literal $rule:literal $sql:literal)*) => {
        /// The checks of this area.
        pub(in crate::verify) const CHECKS: &[$crate::verify::check::Check] = &[
            $($crate::verify::check::checks!(@one $bound $level $name $rule $sql),)*
        ];
    };
    (@one [$accounts:ident => $($bound:ident)?] $level:ident $name:literal $rule:literal $sql:literal) => {
        $crate::verify::check::Check {
            name: $name,
            rule: $rule,
            level: $crate::verify::Level::$level,
            read: |conn, $accounts| {
                Box::pin(async move {
                    sqlx::query_as!(
                        $crate::verify::check::Row,
                        r#"SELECT t.account_id AS "account_id?", t.facts AS "facts!", count(*) OVER () AS "total!" FROM ("#
                            + $sql
                            + r#") t (account_id, facts) ORDER BY t.account_id LIMIT 20"#,
                        $($bound)?
                    )
                    .fetch_all(conn)
                    .await
                })
            },
        }
    };
}

pub(super) use checks;
