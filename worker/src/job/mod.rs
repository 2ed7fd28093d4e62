//! The handlers, one file per noun.

pub mod import;
