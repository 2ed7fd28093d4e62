//! Whom of an account's members an actor sees, and how much of them: as conditions of the statements that read them.

use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::actor::{Action, Actor, Grants};
use crate::id::{AccountId, MemberId};

/// What an actor sees of the members of their account.
///
/// Everything of themselves and of whoever is where they may read members. Names and job title of active members where they belong:
/// everywhere, or in the units that their roles are limited to. Nobody else.
pub(crate) struct Sight {
    account: Uuid,
    own: Uuid,
    /// They may read everybody.
    reads_all: bool,
    /// They may read whoever is in these units.
    reads: Vec<Uuid>,
    /// They belong to the whole account.
    belongs: bool,
    /// The units they belong to otherwise.
    units: Vec<Uuid>,
}

impl Sight {
    pub(crate) fn of(actor: &Actor) -> Self {
        Self::with(actor.account_id, actor.member_id, &actor.rights.grants)
    }

    /// What a member sees who holds this.
    pub(crate) fn with(account: AccountId, member: MemberId, grants: &Grants) -> Self {
        let (reads_all, reads) = grants.reach(Action::ReadMembers.permissions()).parts();
        Self {
            account: account.0,
            own: member.0,
            reads_all,
            reads,
            belongs: grants.belongs_everywhere(),
            units: grants.units().map(|unit| unit.0).collect(),
        }
    }

    /// The account whose members these are.
    pub(crate) fn account(&self) -> Uuid {
        self.account
    }

    /// Whether there are members of whom they read everything, besides themselves.
    pub(crate) fn reads_any(&self) -> bool {
        self.reads_all || !self.reads.is_empty()
    }

    /// A value of [`super::Visibility`] for each row of `member m`.
    pub(crate) fn push_visibility(&self, statement: &mut QueryBuilder<Postgres>) {
        statement.push("CASE WHEN m.member_id = ").push_bind(self.own).push(" THEN 'OWN'");
        if self.reads_all {
            statement.push(" ELSE 'FULL' END");
            return;
        }
        if !self.reads.is_empty() {
            statement.push(" WHEN ");
            self.push_in(statement, "m.member_id", &self.reads, false);
            statement.push(" THEN 'FULL'");
        }
        statement.push(" ELSE 'BASIC' END");
    }

    /// Lets only those rows of `member m` pass that they see.
    pub(crate) fn push_seen(&self, statement: &mut QueryBuilder<Postgres>) {
        if self.reads_all {
            return;
        }
        if !self.belongs {
            statement.push(" AND ");
            self.push_in(statement, "m.member_id", &self.units, true);
        }
        if self.belongs || self.units.iter().any(|unit| !self.reads.contains(unit)) {
            statement.push(" AND (m.status = 'ACTIVE' OR ");
            self.push_in(statement, "m.member_id", &self.reads, true);
            statement.push(")");
        }
    }

    /// Lets only those rows of `member m` pass of which they read everything.
    pub(crate) fn push_readable(&self, statement: &mut QueryBuilder<Postgres>) {
        if !self.reads_all {
            statement.push(" AND ");
            self.push_in(statement, "m.member_id", &self.reads, true);
        }
    }

    /// Lets only those rows pass whose column `member` names somebody of whom they read everything, themselves aside.
    pub(crate) fn push_readable_others(&self, statement: &mut QueryBuilder<Postgres>, member: &str) {
        if !self.reads_all {
            statement.push(" AND ");
            self.push_in(statement, member, &self.reads, false);
        }
    }

    /// Whether everything of the row can be read, as a condition among others.
    pub(crate) fn push_or_false(&self, statement: &mut QueryBuilder<Postgres>) {
        if self.reads_all {
            statement.push("true");
        } else {
            self.push_in(statement, "m.member_id", &self.reads, true);
        }
    }

    /// One list of members, so that the planner can begin with it where it is short.
    fn push_in(&self, statement: &mut QueryBuilder<Postgres>, member: &str, units: &[Uuid], and_own: bool) {
        statement.push(member).push(" IN (SELECT s.member_id FROM member_unit s WHERE s.account_id = ");
        statement.push_bind(self.account).push(" AND s.unit_id = ANY(").push_bind(units.to_vec()).push(")");
        if and_own {
            statement.push(" UNION ALL SELECT ").push_bind(self.own);
        }
        statement.push(")");
    }
}
