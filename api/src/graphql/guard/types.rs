//! Names of types, for the one check that the library makes too late.

use std::collections::HashSet;

use async_graphql::parser::types::{BaseType, ExecutableDocument, Type};

use super::Refusal;

/// Scalars that no definition lists.
const BUILT_IN: [&str; 5] = ["Int", "Float", "String", "Boolean", "ID"];

/// Names of a schema's types.
#[derive(Clone, Debug)]
pub struct TypeNames(HashSet<String>);

impl TypeNames {
    /// From a schema's definition language, by the first words of its lines. A line of a description that begins alike adds
    /// a name that does no harm.
    pub fn of_sdl(sdl: &str) -> Self {
        let defined = sdl.lines().filter_map(|line| {
            let (keyword, rest) = line.split_once(' ')?;
            let names = matches!(keyword, "type" | "interface" | "union" | "enum" | "input" | "scalar");
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            names.then(|| rest[..end.unwrap_or(rest.len())].to_owned())
        });
        Self(defined.chain(BUILT_IN.map(str::to_owned)).collect())
    }
}

/// Refuses a default of a list of an unknown type, at which the library's validation panics; of all other unknown types it
/// says so.
pub(super) fn check_list_defaults(document: &ExecutableDocument, types: &TypeNames) -> Result<(), Refusal> {
    let operations = document.operations.iter();
    for definition in operations.flat_map(|(_, operation)| &operation.node.variable_definitions) {
        let variable = &definition.node;
        if let BaseType::List(item) = &variable.var_type.node.base
            && variable.default_value.is_some()
            && !types.0.contains(named(item))
        {
            let name = named(item).to_owned();
            return Err(Refusal::UnknownType { name, at: definition.pos });
        }
    }
    Ok(())
}

fn named(ty: &Type) -> &str {
    let mut ty = ty;
    loop {
        match &ty.base {
            BaseType::Named(name) => return name,
            BaseType::List(item) => ty = item,
        }
    }
}
