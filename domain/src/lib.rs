//! The rules of Muster and their SQL: who is in an account, what they may do, and which seats they hold.

pub mod infra;
pub mod job;
pub mod outbox;
pub mod sweep;
