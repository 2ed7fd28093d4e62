//! Parsed documents, and the few that are kept because clients send the same ones over and over.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition};
use async_graphql::parser::{self, parse_query};
use async_graphql::{Positioned, ServerError, Variables};
use lru::LruCache;

use super::error::ErrorCode;
use super::guard::{self, GuardLimits, InputProfile, TypeNames};
use super::order::Order;

/// Bytes of text whose documents are kept. A parsed document takes 20 to 40 times its text.
const KEPT_BYTES: usize = 512 * 1024;

/// A document that parsed and passed the guard.
pub struct Document {
    text: Arc<str>,
    parsed: ExecutableDocument,
    inputs: InputProfile,
}

impl Document {
    /// Parses and guards a text.
    ///
    /// # Errors
    /// `COST_LIMIT_EXCEEDED`, `GRAPHQL_PARSE_FAILED`, or `GRAPHQL_VALIDATION_FAILED` for what the guard cannot count.
    pub fn read(text: &str, limits: &GuardLimits, types: &TypeNames) -> Result<Self, ServerError> {
        guard::check_text(text, limits).map_err(guard::Refusal::into_error)?;
        let parsed = parse_query(text).map_err(|error| parse_error(&error))?;
        let inputs = guard::check_document(&parsed, limits, types).map_err(guard::Refusal::into_error)?;
        Ok(Self { text: text.into(), parsed, inputs })
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parsed form.
    pub fn parsed(&self) -> &ExecutableDocument {
        &self.parsed
    }

    /// The operation a request means, with its name.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` if there is none of that name, or several and none is named.
    pub fn operation(
        &self,
        name: Option<&str>,
    ) -> Result<(Option<&str>, &Positioned<OperationDefinition>), ServerError> {
        match (&self.parsed.operations, name) {
            (DocumentOperations::Single(operation), None) => Ok((None, operation)),
            (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations
                .iter()
                .next()
                .map(|(name, operation)| (Some(name.as_str()), operation))
                .ok_or_else(|| bad_operation("The document has no operation.".into())),
            (DocumentOperations::Multiple(operations), Some(name)) => operations
                .get_key_value(name)
                .map(|(name, operation)| (Some(name.as_str()), operation))
                .ok_or_else(|| bad_operation(format!("The document has no operation \"{name}\"."))),
            (DocumentOperations::Multiple(_), None) => {
                Err(bad_operation("The document has several operations: name one in \"operationName\".".into()))
            }
            (DocumentOperations::Single(_), Some(name)) => {
                Err(bad_operation(format!("The document has no operation \"{name}\".")))
            }
        }
    }

    /// The order in which an operation asks for fields; none if there is no such operation.
    pub fn order(&self, name: Option<&str>) -> Order {
        let operation = self.operation(name).ok();
        operation.map_or_else(Order::default, |(_, operation)| Order::of(&self.parsed, &operation.node))
    }

    /// Looks at the variables of a request: their size, and that those that must have a value have one. Their types are
    /// checked by the schema where they are used.
    ///
    /// # Errors
    /// `COST_LIMIT_EXCEEDED` or `BAD_USER_INPUT`.
    pub fn check_variables(
        &self,
        operation: &OperationDefinition,
        variables: &Variables,
        limits: &GuardLimits,
    ) -> Result<(), ServerError> {
        guard::check_variables(&self.inputs, variables, limits).map_err(guard::Refusal::into_error)?;
        for Positioned { node: definition, pos } in &operation.variable_definitions {
            let missing = match variables.get(&definition.name.node) {
                None => definition.default_value.is_none(),
                Some(value) => *value == async_graphql::Value::Null,
            };
            if missing && !definition.var_type.node.nullable {
                let mut error = ErrorCode::BadUserInput.request_error(format!(
                    "Variable \"${}\" of type \"{}\" must have a value.",
                    definition.name.node, definition.var_type.node
                ));
                error.locations.push(*pos);
                return Err(error);
            }
        }
        Ok(())
    }
}

fn bad_operation(message: String) -> ServerError {
    ErrorCode::BadUserInput.request_error(message)
}

/// The parser draws the whole line with a caret below; clients have the text and need the last line only.
fn parse_error(error: &parser::Error) -> ServerError {
    let text = error.to_string();
    let reason = text.rsplit_once("= ").map_or(text.as_str(), |(_, reason)| reason).trim();
    let mut answer = ErrorCode::GraphqlParseFailed.request_error(format!("Syntax error: {reason}."));
    answer.locations = error.positions().collect();
    answer
}

/// The documents used last, by their text. Filled by requests that the schema accepted, so that nobody can push out other
/// clients' documents with nonsense.
pub struct Documents(Mutex<Kept>);

struct Kept {
    documents: LruCache<Arc<str>, Arc<Document>>,
    bytes: usize,
}

impl Default for Documents {
    fn default() -> Self {
        Self(Mutex::new(Kept { documents: LruCache::unbounded(), bytes: 0 }))
    }
}

impl Documents {
    /// The document of a text, if it is kept.
    pub fn get(&self, text: &str) -> Option<Arc<Document>> {
        self.kept().documents.get(text).cloned()
    }

    /// Keeps a document, at the cost of those that were not asked for the longest.
    pub fn keep(&self, document: &Arc<Document>) {
        let mut kept = self.kept();
        if kept.documents.contains(&document.text) {
            return;
        }
        kept.bytes += document.text.len();
        kept.documents.put(Arc::clone(&document.text), Arc::clone(document));
        while kept.bytes > KEPT_BYTES {
            let Some((text, _)) = kept.documents.pop_lru() else {
                break;
            };
            kept.bytes -= text.len();
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // A panic while the lock was held leaves at worst a wrong byte count.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Arc<Document> {
        let parsed = parse_query("{a}").unwrap();
        let inputs = InputProfile::default();
        Arc::new(Document { text: text.into(), parsed, inputs })
    }

    #[test]
    fn the_least_used_go_first_and_the_rest_stay_within_bounds() {
        let documents = Documents::default();
        let text = |index: usize| format!("{index}{}", "x".repeat(KEPT_BYTES / 10));
        for index in 0..9 {
            documents.keep(&document(&text(index)));
        }
        assert!(documents.get(&text(0)).is_some());
        documents.keep(&document(&text(9)));
        assert!(documents.get(&text(0)).is_some(), "it was asked for");
        assert!(documents.get(&text(1)).is_none(), "it was not");
        // The same document twice counts once.
        for _ in 0..20 {
            documents.keep(&document(&text(9)));
        }
        assert!(documents.get(&text(2)).is_some());
    }

    #[test]
    fn a_parse_error_says_where_and_what_in_one_line() {
        let error = parse_error(&parse_query("{\n  a(\n}").unwrap_err());
        assert_eq!(error.locations.len(), 1);
        assert_eq!(error.locations[0].line, 3);
        assert!(error.message.starts_with("Syntax error: expected "), "{}", error.message);
        assert!(!error.message.contains('\n'), "{}", error.message);
        let error = parse_error(&parse_query("{a} {b}").unwrap_err());
        assert_eq!(error.message, "Syntax error: document contains multiple operations.");
    }
}
