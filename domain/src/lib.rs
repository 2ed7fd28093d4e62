//! The rules of Muster and their SQL: who is in an account, what they may do, and which seats they hold.

pub mod account;
pub mod across;
pub mod actor;
pub mod change;
pub mod demo;
pub mod error;
pub mod event;
pub mod id;
pub mod import;
pub mod infra;
pub mod invitation;
pub mod job;
pub mod license;
pub mod member;
pub mod outbox;
pub mod password;
pub mod password_reset;
pub mod permission;
pub mod profile;
pub mod rate;
pub mod role;
pub mod session;
pub mod sign_up;
pub mod sweep;
