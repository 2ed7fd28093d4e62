//! The order of the fields of an answer. The specification (§7.2.2) wants the one in which they were asked for, for whoever reads
//! answers or streams through them; the library has that in which they were resolved.

use std::collections::HashMap;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    ExecutableDocument, FragmentDefinition, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Value};

/// The keys of an object as they were asked for, each with those of the objects below it. Fragments stand where they are spread,
/// whatever their type: a key that an object does not have is no matter.
#[derive(Debug, Default)]
pub struct Order(IndexMap<Name, Self>);

impl Order {
    /// The order of an operation. Walks every spread, so the document's expanded selections must have been found to be within their
    /// limit.
    pub fn of(document: &ExecutableDocument, operation: &OperationDefinition) -> Self {
        let mut order = Self::default();
        order.add(&operation.selection_set.node, &document.fragments);
        order
    }

    fn add(&mut self, set: &SelectionSet, fragments: &HashMap<Name, Positioned<FragmentDefinition>>) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    let key = field.node.response_key().node.clone();
                    self.0.entry(key).or_default().add(&field.node.selection_set.node, fragments);
                }
                Selection::InlineFragment(fragment) => self.add(&fragment.node.selection_set.node, fragments),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = fragments.get(&spread.node.fragment_name.node) {
                        self.add(&fragment.node.selection_set.node, fragments);
                    }
                }
            }
        }
    }

    /// Puts the fields of a result into this order. What is below a field without selections, like the object of a scalar, stays as it
    /// is.
    pub fn apply(&self, value: &mut Value) {
        match value {
            Value::List(items) => items.iter_mut().for_each(|item| self.apply(item)),
            Value::Object(fields) if !self.0.is_empty() => {
                fields.sort_by_cached_key(|key, _| self.0.get_index_of(key));
                for (key, value) in fields {
                    if let Some(below) = self.0.get(key) {
                        below.apply(value);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use async_graphql::value;

    use super::*;

    fn ordered(query: &str, mut value: Value) -> String {
        let document = parse_query(query).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        Order::of(&document, &operation.node).apply(&mut value);
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn fields_come_as_they_were_asked_for() {
        let answer =
            value!({ "a": [{ "y": 1, "x": 2 }, null, { "x": 3 }], "c": null, "b": { "z": { "k": 1, "j": 2 } } });
        assert_eq!(
            ordered("{ c b { z } a { x y } }", answer),
            r#"{"c":null,"b":{"z":{"k":1,"j":2}},"a":[{"x":2,"y":1},null,{"x":3}]}"#
        );
    }

    #[test]
    fn aliases_and_fragments_stand_where_they_are_written() {
        let answer = value!({ "d": 1, "c": { "p": 1, "o": 2, "n": 3 }, "b": 1, "a": 1 });
        assert_eq!(
            ordered("{ a: x ...F ... on T { c { n } } d c { p } } fragment F on T { b c { o } }", answer),
            r#"{"a":1,"b":1,"c":{"o":2,"n":3,"p":1},"d":1}"#
        );
    }
}
