//! Technical parts without rules.

pub mod clock;
pub mod config;
pub mod db;
pub mod page;
pub mod secret;
