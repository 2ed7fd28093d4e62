//! Technical parts without rules.

pub mod clock;
pub mod config;
pub mod wake;
