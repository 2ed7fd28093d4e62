//! Technical parts without rules.

pub mod clock;
pub mod config;
pub mod email_address;
pub mod personal_domain;
