//! What a document costs with its fragments expanded, without expanding them.
//!
//! Below `__schema` and `__type` the number of values in the answer is estimated: a field that is a list multiplies what
//! is below it by a typical length ([`typical_length`]). That bounds what repeated or nested lists can cost, which their
//! number of selections does not.

use std::collections::HashMap;

use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, FragmentDefinition, FragmentSpread, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned};

use super::{Refusal, weight};

/// Sums and maxima over a selection set with everything below it, fragments expanded. All saturate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expanded {
    pub(super) selections: usize,
    pub(super) depth: usize,
    pub(super) levels: usize,
    pub(super) inputs: usize,
    pub(super) introspection_depth: usize,
    pub(super) introspection_lists: usize,
    pub(super) introspection_cost: usize,
}

impl Expanded {
    /// Takes up what stands beside.
    fn beside(&mut self, other: Self) {
        self.selections = self.selections.saturating_add(other.selections);
        self.inputs = self.inputs.saturating_add(other.inputs);
        self.introspection_cost = self.introspection_cost.saturating_add(other.introspection_cost);
        self.depth = self.depth.max(other.depth);
        self.levels = self.levels.max(other.levels);
        self.introspection_depth = self.introspection_depth.max(other.introspection_depth);
        self.introspection_lists = self.introspection_lists.max(other.introspection_lists);
    }

    /// One more selection around what is below.
    fn around(mut self) -> Self {
        self.selections = self.selections.saturating_add(1);
        self.levels = self.levels.saturating_add(1);
        self
    }
}

/// Expanded costs of all definitions, and what is counted as written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DocumentCost {
    pub(super) expanded: Expanded,
    pub(super) aliases: usize,
    pub(super) directives: usize,
}

/// Counts a whole document: all operations, and fragments that none of them spreads. `max_levels` bounds the recursion.
pub(super) fn of_document(document: &ExecutableDocument, max_levels: usize) -> Result<DocumentCost, Refusal> {
    let mut count = Count {
        fragments: &document.fragments,
        max_levels,
        level: 0,
        memo: HashMap::new(),
        written: DocumentCost::default(),
    };
    let mut total = Expanded::default();
    for (_, operation) in document.operations.iter() {
        let mut cost = count.set(&operation.node.selection_set.node, Part::Data)?;
        cost.inputs = cost.inputs.saturating_add(count.directives(&operation.node.directives));
        for variable in &operation.node.variable_definitions {
            cost.inputs = cost.inputs.saturating_add(1);
            count.directives(&variable.node.directives);
        }
        total.beside(cost);
    }
    for (name, fragment) in &document.fragments {
        if !count.knows(name) {
            let cost = count.fragment(name, fragment, Part::Data)?;
            total.beside(cost);
        }
    }
    Ok(DocumentCost { expanded: total, ..count.written })
}

/// Which part of the schema a selection set reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Data,
    Introspection,
}

enum Memo {
    InProgress,
    Done(Expanded),
}

struct Count<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    max_levels: usize,
    level: usize,
    memo: HashMap<(&'a Name, Part), Memo>,
    written: DocumentCost,
}

impl<'a> Count<'a> {
    fn knows(&self, name: &'a Name) -> bool {
        self.memo.contains_key(&(name, Part::Data)) || self.memo.contains_key(&(name, Part::Introspection))
    }

    fn set(&mut self, set: &'a SelectionSet, part: Part) -> Result<Expanded, Refusal> {
        if set.items.is_empty() {
            return Ok(Expanded::default());
        }
        self.level += 1;
        if self.level > self.max_levels + 1 {
            return Err(Refusal::Exceeded {
                limit: "levels",
                maximum: self.max_levels,
                requested: self.max_levels + 1,
            });
        }
        let mut sum = Expanded::default();
        for selection in &set.items {
            let inputs = self.directives(selection.node.directives());
            let mut cost = match &selection.node {
                Selection::Field(field) => self.field(&field.node, part)?,
                Selection::InlineFragment(inline) => self.set(&inline.node.selection_set.node, part)?.around(),
                Selection::FragmentSpread(spread) => self.spread(spread, part)?.around(),
            };
            cost.inputs = cost.inputs.saturating_add(inputs);
            sum.beside(cost);
        }
        self.level -= 1;
        Ok(sum)
    }

    fn field(&mut self, field: &'a Field, part: Part) -> Result<Expanded, Refusal> {
        self.written.aliases += usize::from(field.alias.is_some());
        let enters = part == Part::Data && matches!(field.name.node.as_str(), "__schema" | "__type");
        let below = if enters { Part::Introspection } else { part };
        let mut cost = self.set(&field.selection_set.node, below)?;
        if field.selection_set.node.items.is_empty() {
            cost.selections = 1;
        } else {
            cost = cost.around();
        }
        for (_, value) in &field.arguments {
            cost.inputs = cost.inputs.saturating_add(weight::of_literal(&value.node));
        }
        if below == Part::Introspection {
            cost.introspection_depth += 1;
            let name = field.name.node.as_str();
            cost.introspection_lists += usize::from(is_list_of_types_or_fields(name));
            cost.introspection_cost = introspection_cost(name, cost.introspection_cost);
        }
        if part == Part::Data {
            cost.depth += 1;
        }
        Ok(cost)
    }

    fn spread(&mut self, spread: &'a Positioned<FragmentSpread>, part: Part) -> Result<Expanded, Refusal> {
        let name = &spread.node.fragment_name.node;
        match (self.memo.get(&(name, part)), self.fragments.get(name)) {
            (Some(Memo::Done(cost)), _) => Ok(*cost),
            (Some(Memo::InProgress), _) => Err(Refusal::Cycle { fragment: name.clone(), at: spread.pos }),
            (None, Some(fragment)) => self.fragment(name, fragment, part),
            // Validation names the unknown fragment.
            (None, None) => Ok(Expanded::default()),
        }
    }

    fn fragment(
        &mut self,
        name: &'a Name,
        fragment: &'a Positioned<FragmentDefinition>,
        part: Part,
    ) -> Result<Expanded, Refusal> {
        self.memo.insert((name, part), Memo::InProgress);
        self.directives(&fragment.node.directives);
        let cost = self.set(&fragment.node.selection_set.node, part)?;
        self.memo.insert((name, part), Memo::Done(cost));
        Ok(cost)
    }

    /// Counts directives as written; answers the size of their arguments.
    fn directives(&mut self, directives: &[Positioned<Directive>]) -> usize {
        self.written.directives += directives.len();
        let arguments = directives.iter().flat_map(|directive| &directive.node.arguments);
        arguments.map(|(_, value)| weight::of_literal(&value.node)).fold(0, usize::saturating_add)
    }
}

fn is_list_of_types_or_fields(field: &str) -> bool {
    matches!(field, "types" | "fields" | "inputFields" | "interfaces" | "possibleTypes")
}

/// Items of a list of the introspection schema, as an average over all types of a schema; 1 for what is no list.
fn typical_length(field: &str) -> usize {
    match field {
        "types" => 100,
        "fields" => 6,
        "directives" => 5,
        "inputFields" | "enumValues" => 2,
        _ => 1,
    }
}

/// What a field of the introspection schema costs with what is below it. Clients ask for `ofType` many times inside each
/// other; most types end after the first or second, so that each counts half.
fn introspection_cost(field: &str, below: usize) -> usize {
    let below = if field == "ofType" { below / 2 } else { below };
    below.saturating_mul(typical_length(field)).saturating_add(1)
}
