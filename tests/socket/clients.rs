//! What clients make of it.
