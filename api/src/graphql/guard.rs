//! The cost guard: refuses a document before the schema validates it.
//!
//! The library's own limits are checked during and after validation, which walks fragments once per spread: 24 fragments
//! that each spread the next one twice (817 bytes) cost seconds of CPU. Here each fragment is counted once, with sums that
//! saturate, so the work is linear in the document. Nothing recurses deeper than [`MAX_NESTING`], which a scan of the bytes
//! ensures before anything is parsed.

mod cost;
mod mutation;
mod nesting;
mod subscription;
mod types;
mod weight;

use std::collections::HashMap;

use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Name, Pos, SchemaBuilder, ServerError, Variables};
use domain::infra::config;

pub use self::nesting::MAX_NESTING;
pub use self::types::TypeNames;
use super::error::ErrorCode;

/// Directives of a document; nobody needs more than a few `@include`.
const MAX_DIRECTIVES: usize = 50;

/// Values in arguments and variables, each use of a variable counted with its whole value: what validation copies. A
/// string counts one more per 64 bytes.
const MAX_INPUT_VALUES: usize = 20_000;

/// Nested selection sets and fragments together; the library refuses more than 32 by an error of its own.
const MAX_LEVELS: usize = 32;

/// Depth below `__schema` and `__type`: the standard introspection query needs 13 to 16, by the age of the client.
const MAX_INTROSPECTION_DEPTH: usize = 20;

/// Lists of types and fields inside each other below `__schema`; the standard query needs two (`types { fields }`).
const MAX_INTROSPECTION_LISTS: usize = 2;

/// Estimated values of an introspection's answer, see [`cost`]: one and a half times the standard query.
const MAX_INTROSPECTION_COST: usize = 28_000;

/// What a document may ask for. Numbers are inclusive.
#[derive(Clone, Debug)]
pub struct GuardLimits {
    /// Bytes of the text.
    pub document_bytes: usize,
    /// Fields inside each other, outside introspection.
    pub depth: usize,
    /// Fields, spreads and inline fragments of all operations, with fragments expanded.
    pub selections: usize,
    /// Aliases, as written.
    pub aliases: usize,
    /// Directives, as written.
    pub directives: usize,
    /// Values in arguments and variables.
    pub input_values: usize,
    /// Selection sets and fragments inside each other.
    pub levels: usize,
    /// Fields inside each other below `__schema` and `__type`.
    pub introspection_depth: usize,
    /// Lists of types or fields inside each other, below `__schema` and `__type`.
    pub introspection_lists: usize,
    /// Estimated values of the answer below `__schema` and `__type`.
    pub introspection_cost: usize,
}

impl From<&config::Limits> for GuardLimits {
    fn from(limits: &config::Limits) -> Self {
        Self {
            document_bytes: limits.query_bytes,
            depth: limits.query_depth,
            selections: limits.query_selections,
            aliases: limits.query_aliases,
            directives: MAX_DIRECTIVES,
            input_values: MAX_INPUT_VALUES,
            levels: MAX_LEVELS,
            introspection_depth: MAX_INTROSPECTION_DEPTH,
            introspection_lists: MAX_INTROSPECTION_LISTS,
            introspection_cost: MAX_INTROSPECTION_COST,
        }
    }
}

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// More of something than the limit allows.
    Exceeded {
        /// The limit's name, as clients read it.
        limit: &'static str,
        /// Its value.
        maximum: usize,
        /// What was asked for; where counting stopped early, the first number above the limit.
        requested: usize,
    },
    /// A fragment contains itself.
    Cycle {
        /// Its name.
        fragment: Name,
        /// Where it spreads itself.
        at: Pos,
    },
    /// A default is given for a list of a type that does not exist.
    UnknownType {
        /// The type's name.
        name: String,
        /// The variable.
        at: Pos,
    },
    /// A mutation selects a field twice under one name, which the library would execute twice.
    RepeatedMutation {
        /// The name in the response.
        field: Name,
        /// The second selection.
        at: Pos,
    },
    /// A subscription selects more than one field, or one of the introspection.
    SecondSubscription {
        /// The selection.
        at: Pos,
    },
}

impl Refusal {
    /// The one error a client reads.
    pub fn into_error(self) -> ServerError {
        match self {
            Self::Exceeded { limit, maximum, requested } => {
                let mut error = ErrorCode::CostLimitExceeded.request_error(format!(
                    "The request exceeds the limit \"{limit}\": at most {maximum}, but it asks for {requested}."
                ));
                let extensions = error.extensions.get_or_insert_default();
                extensions.set("limit", limit);
                extensions.set("maximum", maximum);
                extensions.set("requested", requested);
                error
            }
            Self::Cycle { fragment, at } => located(
                ErrorCode::GraphqlValidationFailed
                    .request_error(format!("Cannot spread fragment \"{fragment}\" within itself.")),
                at,
            ),
            Self::UnknownType { name, at } => {
                located(ErrorCode::GraphqlValidationFailed.request_error(format!("Unknown type \"{name}\".")), at)
            }
            Self::RepeatedMutation { field, at } => located(
                ErrorCode::GraphqlValidationFailed.request_error(format!(
                    "The mutation selects \"{field}\" twice; give each call an alias of its own."
                )),
                at,
            ),
            Self::SecondSubscription { at } => located(
                ErrorCode::GraphqlValidationFailed
                    .request_error("A subscription selects one field, and none of the introspection."),
                at,
            ),
        }
    }
}

fn located(mut error: ServerError, at: Pos) -> ServerError {
    error.locations.push(at);
    error
}

/// `Ok` unless `requested` is above `maximum`.
pub fn within(limit: &'static str, maximum: usize, requested: usize) -> Result<(), Refusal> {
    if requested > maximum {
        return Err(Refusal::Exceeded { limit, maximum, requested });
    }
    Ok(())
}

/// What remains to be looked at once the variables are known.
#[derive(Clone, Debug, Default)]
pub struct InputProfile {
    /// Values written in the document, fragments expanded.
    literals: usize,
    /// How often a variable's value is read, fragments expanded.
    uses: HashMap<Name, usize>,
    /// Size of a variable's default.
    defaults: HashMap<Name, usize>,
}

/// Settings of the library that the guard relies on; every schema is to be built through it.
///
/// Suggestions ("Did you mean …?") compare each unknown name with each field of its type: 16 KB of unknown names on a type
/// of 200 fields cost 100 ms and more.
pub fn guarded<Q, M, S>(schema: SchemaBuilder<Q, M, S>) -> SchemaBuilder<Q, M, S> {
    schema.disable_suggestions().limit_recursive_depth(MAX_LEVELS)
}

/// Looks at the text before it is parsed: its length, and how deep its brackets nest.
pub fn check_text(text: &str, limits: &GuardLimits) -> Result<(), Refusal> {
    within("documentBytes", limits.document_bytes, text.len())?;
    within("nesting", MAX_NESTING, nesting::deepest(text.as_bytes()))
}

/// Looks at a parsed document before the schema validates it. `document` must come from a text that passed
/// [`check_text`].
pub fn check_document(
    document: &ExecutableDocument,
    limits: &GuardLimits,
    types: &TypeNames,
) -> Result<InputProfile, Refusal> {
    let total = cost::of_document(document, limits.levels)?;
    within("selections", limits.selections, total.expanded.selections)?;
    within("depth", limits.depth, total.expanded.depth)?;
    within("levels", limits.levels, total.expanded.levels)?;
    within("introspectionDepth", limits.introspection_depth, total.expanded.introspection_depth)?;
    within("introspectionLists", limits.introspection_lists, total.expanded.introspection_lists)?;
    within("introspectionCost", limits.introspection_cost, total.expanded.introspection_cost)?;
    within("aliases", limits.aliases, total.aliases)?;
    within("directives", limits.directives, total.directives)?;
    within("inputValues", limits.input_values, total.expanded.inputs)?;
    types::check_list_defaults(document, types)?;
    mutation::check_fields_once(document)?;
    subscription::check_one_field(document)?;
    Ok(weight::profile(document, total.expanded.inputs))
}

/// Looks at the variables that come with a document: each is counted as often as the document reads it.
pub fn check_variables(profile: &InputProfile, variables: &Variables, limits: &GuardLimits) -> Result<(), Refusal> {
    let mut total = profile.literals;
    let mut sizes = profile.defaults.clone();
    for (name, value) in variables.iter() {
        let size = weight::of_const(value);
        total = total.saturating_add(size);
        sizes.insert(name.clone(), size);
    }
    for (name, uses) in &profile.uses {
        let size = sizes.get(name).copied().unwrap_or(0);
        total = total.saturating_add(uses.saturating_mul(size));
    }
    within("inputValues", limits.input_values, total)
}

#[cfg(test)]
mod tests;
