//! Technical parts without rules.

pub mod clock;
pub mod config;
pub mod db;
pub mod email_address;
pub mod fault;
pub mod files;
pub mod keys;
pub mod link;
pub mod metrics;
pub mod migrate;
pub mod money;
pub mod page;
pub mod personal_domain;
pub mod presence;
pub mod secret;
pub mod telemetry;
pub mod wake;
