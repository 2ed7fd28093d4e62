//! What metrics and traces call an operation: by what it asks for first. The name that a client gives it is anybody's.

use std::collections::HashSet;
use std::sync::LazyLock;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    ExecutableDocument, OperationDefinition, Selection, SelectionSet, TypeKind, TypeSystemDefinition,
};

/// Fragments that are looked into; the guard allows no deeper nesting, and no circles.
const DEPTH: usize = 100;

/// Fields of the root types.
static ROOTS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let sdl = super::sdl();
    let schema = parse_schema(&sdl).expect("the schema writes itself");
    let mut roots = HashSet::new();
    for definition in schema.definitions {
        if let TypeSystemDefinition::Type(definition) = definition
            && matches!(definition.node.name.node.as_str(), "Query" | "Mutation" | "Subscription")
            && let TypeKind::Object(object) = definition.node.kind
        {
            roots.extend(object.fields.into_iter().map(|field| field.node.name.node.to_string()));
        }
    }
    roots
});

/// The first root field of an operation; `introspection` for one that begins with two underscores, `unknown` for one that the
/// schema does not have.
pub fn name(document: &ExecutableDocument, operation: &OperationDefinition) -> &'static str {
    match first(document, &operation.selection_set.node) {
        Some(field) if field.starts_with("__") => "introspection",
        Some(field) => ROOTS.get(field).map_or("unknown", String::as_str),
        None => "unknown",
    }
}

fn first<'a>(document: &'a ExecutableDocument, mut selections: &'a SelectionSet) -> Option<&'a str> {
    for _ in 0..DEPTH {
        selections = match &selections.items.first()?.node {
            Selection::Field(field) => return Some(field.node.name.node.as_str()),
            Selection::InlineFragment(fragment) => &fragment.node.selection_set.node,
            Selection::FragmentSpread(spread) => {
                &document.fragments.get(&spread.node.fragment_name.node)?.node.selection_set.node
            }
        };
    }
    None
}

/// All root fields of an operation, whatever fragments they stand in: each at least once.
pub fn all<'d>(document: &'d ExecutableDocument, operation: &'d OperationDefinition) -> Vec<&'d str> {
    let (mut fields, mut spread) = (Vec::new(), HashSet::new());
    let mut open = vec![&operation.selection_set.node];
    while let Some(selections) = open.pop() {
        for selection in &selections.items {
            match &selection.node {
                Selection::Field(field) => fields.push(field.node.name.node.as_str()),
                Selection::InlineFragment(fragment) => open.push(&fragment.node.selection_set.node),
                Selection::FragmentSpread(fragment) => {
                    let name = &fragment.node.fragment_name.node;
                    if spread.insert(name)
                        && let Some(fragment) = document.fragments.get(name)
                    {
                        open.push(&fragment.node.selection_set.node);
                    }
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn of(text: &str) -> &'static str {
        let document = parse_query(text).unwrap();
        let operation = document.operations.iter().next().unwrap().1.node.clone();
        name(&document, &operation)
    }

    #[test]
    fn an_operation_is_called_by_its_first_field_whatever_its_client_calls_it() {
        assert_eq!(of("query Evil { x: viewer { id } account { id } }"), "viewer");
        assert_eq!(of("mutation { memberInvite(input: {}) { userErrors { code } } }"), "memberInvite");
        assert_eq!(of("{ ... on Query { ...A } } fragment A on Query { account { id } }"), "account");
        assert_eq!(of("{ __schema { types { name } } }"), "introspection");
    }

    #[test]
    fn all_root_fields_are_found_wherever_they_stand() {
        let text = "{ account { id } ...A ... on Query { ...A c: job(id: 1) { id } } } fragment A on Query { viewer { id } ...A }";
        let document = parse_query(text).unwrap();
        let operation = document.operations.iter().next().unwrap().1.node.clone();
        let mut fields = all(&document, &operation);
        fields.sort_unstable();
        assert_eq!(fields, ["account", "job", "viewer"]);
    }

    #[test]
    fn what_the_schema_does_not_have_is_unknown() {
        for text in ["{ evil1 }", "{ ...A }", "{ ...A } fragment A on Query { ...A }"] {
            assert_eq!(of(text), "unknown", "{text}");
        }
    }
}
