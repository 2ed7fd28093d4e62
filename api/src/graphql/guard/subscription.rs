//! A subscription has one root field.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, FragmentDefinition, OperationType, Selection, SelectionSet};
use async_graphql::{Name, Positioned};

use super::Refusal;

/// Refuses a subscription that selects more than one root field, or one of the introspection, as the specification does
/// (§5.2.4.1); the library would run them all and mix their results.
///
/// Walks every spread, so the document's expanded selections must have been found to be within their limit.
pub(super) fn check_one_field(document: &ExecutableDocument) -> Result<(), Refusal> {
    for (_, operation) in document.operations.iter() {
        if operation.node.ty == OperationType::Subscription {
            check_set(&operation.node.selection_set.node, &document.fragments, &mut false)?;
        }
    }
    Ok(())
}

fn check_set(
    set: &SelectionSet,
    fragments: &HashMap<Name, Positioned<FragmentDefinition>>,
    seen: &mut bool,
) -> Result<(), Refusal> {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => {
                if std::mem::replace(seen, true) || field.node.name.node.starts_with("__") {
                    return Err(Refusal::SecondSubscription { at: field.pos });
                }
            }
            Selection::InlineFragment(inline) => check_set(&inline.node.selection_set.node, fragments, seen)?,
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = fragments.get(&spread.node.fragment_name.node) {
                    check_set(&fragment.node.selection_set.node, fragments, seen)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    #[test]
    fn a_subscription_selects_one_field() {
        let refused = |text: &str| check_one_field(&parse_query(text).unwrap()).is_err();
        for text in [
            "subscription { a { b c } }",
            "subscription { ...F } fragment F on S { a }",
            "query { a b __typename }",
            "mutation { a b }",
        ] {
            assert!(!refused(text), "{text}");
        }
        for text in [
            "subscription { a b }",
            "subscription { a a }",
            "subscription { a ...F } fragment F on S { b }",
            "subscription { ... on S { a } ... { b } }",
            "subscription { __typename }",
            "query Q { a } subscription S { a b }",
        ] {
            assert!(refused(text), "{text}");
        }
    }
}
