//! The size of input values.

use std::collections::HashMap;

use async_graphql::parser::types::{Directive, ExecutableDocument, Field, FragmentDefinition, Selection, SelectionSet};
use async_graphql::{Name, Positioned, Value as ConstValue};
use async_graphql_value::Value;

use super::InputProfile;

/// Bytes of a string that weigh as much as a value.
const STRING_UNIT_BYTES: usize = 64;

fn of_text(text: &str) -> usize {
    1 + text.len() / STRING_UNIT_BYTES
}

/// Values in a variable or a default. Recurses as deep as the value: 128 levels of JSON or the nesting of a document.
pub(super) fn of_const(value: &ConstValue) -> usize {
    match value {
        ConstValue::String(text) => of_text(text),
        ConstValue::List(items) => items.iter().map(of_const).fold(1, usize::saturating_add),
        ConstValue::Object(fields) => fields
            .iter()
            .map(|(name, value)| of_text(name).saturating_add(of_const(value)))
            .fold(1, usize::saturating_add),
        _ => 1,
    }
}

/// Values written in an argument; a variable counts as one.
pub(super) fn of_literal(value: &Value) -> usize {
    match value {
        Value::String(text) => of_text(text),
        Value::List(items) => items.iter().map(of_literal).fold(1, usize::saturating_add),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| of_text(name).saturating_add(of_literal(value)))
            .fold(1, usize::saturating_add),
        _ => 1,
    }
}

/// Counts how often each variable is read. Walks every spread, so the document's expanded selections and values must have
/// been found to be within their limits.
pub(super) fn profile(document: &ExecutableDocument, literals: usize) -> InputProfile {
    let mut uses =
        Uses { fragments: &document.fragments, profile: InputProfile { literals, ..InputProfile::default() } };
    for (_, operation) in document.operations.iter() {
        for definition in &operation.node.variable_definitions {
            if let Some(default) = &definition.node.default_value {
                let size = of_const(&default.node);
                uses.profile.literals = uses.profile.literals.saturating_add(size);
                uses.profile.defaults.insert(definition.node.name.node.clone(), size);
            }
        }
        uses.directives(&operation.node.directives);
        uses.set(&operation.node.selection_set.node);
    }
    uses.profile
}

struct Uses<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    profile: InputProfile,
}

impl Uses<'_> {
    fn set(&mut self, set: &SelectionSet) {
        for selection in &set.items {
            self.directives(selection.node.directives());
            match &selection.node {
                Selection::Field(field) => self.field(&field.node),
                Selection::InlineFragment(inline) => self.set(&inline.node.selection_set.node),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.fragments.get(&spread.node.fragment_name.node) {
                        self.set(&fragment.node.selection_set.node);
                    }
                }
            }
        }
    }

    fn field(&mut self, field: &Field) {
        for (_, value) in &field.arguments {
            self.value(&value.node);
        }
        self.set(&field.selection_set.node);
    }

    fn directives(&mut self, directives: &[Positioned<Directive>]) {
        for (_, value) in directives.iter().flat_map(|directive| &directive.node.arguments) {
            self.value(&value.node);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Variable(name) => *self.profile.uses.entry(name.clone()).or_default() += 1,
            Value::List(items) => items.iter().for_each(|item| self.value(item)),
            Value::Object(fields) => fields.values().for_each(|field| self.value(field)),
            _ => {}
        }
    }
}
