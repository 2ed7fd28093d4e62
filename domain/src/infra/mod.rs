//! Technical parts without rules.

pub mod clock;
pub mod config;
pub mod keys;
pub mod migrate;
pub mod telemetry;
