//! Each field of a mutation is selected once.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{ExecutableDocument, FragmentDefinition, OperationType, Selection, SelectionSet};
use async_graphql::{Name, Positioned};

use super::Refusal;

/// Refuses a mutation that selects a root field twice under one response name. By the specification the two are one call;
/// the library calls the resolver for each and merges the answers, which would do the work twice.
///
/// Walks every spread, so the document's expanded selections must have been found to be within their limit.
pub(super) fn check_fields_once(document: &ExecutableDocument) -> Result<(), Refusal> {
    for (_, operation) in document.operations.iter() {
        if operation.node.ty == OperationType::Mutation {
            let mut seen = HashSet::new();
            check_set(&operation.node.selection_set.node, &document.fragments, &mut seen)?;
        }
    }
    Ok(())
}

fn check_set<'a>(
    set: &'a SelectionSet,
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    seen: &mut HashSet<&'a Name>,
) -> Result<(), Refusal> {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) if field.node.name.node == "__typename" => {}
            Selection::Field(field) => {
                let key = &field.node.response_key().node;
                if !seen.insert(key) {
                    return Err(Refusal::RepeatedMutation { field: key.clone(), at: field.pos });
                }
            }
            Selection::InlineFragment(inline) => {
                check_set(&inline.node.selection_set.node, fragments, seen)?;
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = fragments.get(&spread.node.fragment_name.node) {
                    check_set(&fragment.node.selection_set.node, fragments, seen)?;
                }
            }
        }
    }
    Ok(())
}
