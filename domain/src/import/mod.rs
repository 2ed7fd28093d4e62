//! Import of members from a CSV file.
//!
//! [`mod@file`] reads records in bounded memory and can go on where another process stopped; [`row`] says what is wrong
//! with a record, or what it asks for; [`report`] writes the rejected records back, so that they can be mended and
//! uploaded again.
//!
//! An import looks through the file once with [`file::survey`], which finds every fault that refuses it as a whole. Then
//! it takes records from a [`file::MemberFile`] and gives each to [`row::check_row`]. After a record it stores the
//! record's row + 1 and `end`. To go on, it opens the file for its header, puts the stored numbers into the
//! [`file::Resume`] of that, resumes a source that stands there, and gets the addresses before it from
//! [`duplicates::SeenAddresses::before`].

pub mod column;
pub mod duplicates;
pub mod file;
mod raw;
pub mod report;
pub mod row;
