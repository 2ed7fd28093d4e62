//! GraphQL over HTTP, in front of the whole product.

mod clients;
mod hostile;
mod sites;
