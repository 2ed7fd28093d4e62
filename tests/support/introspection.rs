//! The public schema as its own introspection tells it.

use std::collections::BTreeMap;

use serde::Deserialize;

const QUERY: &str = "{ __schema { types {
    kind name description specifiedByURL
    interfaces { name }
    fields(includeDeprecated: true) { name description args { name description type { ...T } } type { ...T } }
    inputFields { name description type { ...T } }
    enumValues(includeDeprecated: true) { name description }
} } }
fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";

/// A type of the schema.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Type {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    #[serde(rename = "specifiedByURL")]
    pub(crate) specified_by_url: Option<String>,
    pub(crate) interfaces: Option<Vec<Named>>,
    pub(crate) fields: Option<Vec<Field>>,
    pub(crate) input_fields: Option<Vec<Input>>,
    pub(crate) enum_values: Option<Vec<Named>>,
}

/// A field of an object or an interface.
#[derive(Debug, Deserialize)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) args: Vec<Input>,
    #[serde(rename = "type")]
    pub(crate) kind: Reference,
}

/// An argument, or a field of an input object.
#[derive(Debug, Deserialize)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Reference,
}

/// Something with a name.
#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
}

/// A type as it is used: maybe a list, maybe not null.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reference {
    kind: String,
    name: Option<String>,
    of_type: Option<Box<Reference>>,
}

impl Reference {
    /// As the definition language writes it.
    pub(crate) fn text(&self) -> String {
        let inner = self.of_type.as_ref().map(|inner| inner.text());
        match (self.kind.as_str(), inner) {
            ("NON_NULL", Some(inner)) => format!("{inner}!"),
            ("LIST", Some(inner)) => format!("[{inner}]"),
            _ => self.name.clone().expect("a named type"),
        }
    }

    /// Without lists and marks.
    pub(crate) fn name(&self) -> &str {
        self.of_type.as_ref().map_or_else(|| self.name.as_deref().expect("a named type"), |inner| inner.name())
    }
}

impl Type {
    pub(crate) fn fields(&self) -> &[Field] {
        self.fields.as_deref().unwrap_or_default()
    }

    pub(crate) fn input_fields(&self) -> &[Input] {
        self.input_fields.as_deref().unwrap_or_default()
    }
}

/// All types of the product, by name: none of GraphQL's own.
pub(crate) async fn types() -> BTreeMap<String, Type> {
    #[derive(Deserialize)]
    struct Data {
        #[serde(rename = "__schema")]
        schema: Schema,
    }
    #[derive(Deserialize)]
    struct Schema {
        types: Vec<Type>,
    }
    let response = api::graphql::schema().execute(QUERY).await;
    assert!(response.errors.is_empty(), "{:?}", response.errors);
    let data: Data = serde_json::from_value(response.data.into_json().expect("JSON")).expect("introspection");
    let own = |name: &str| !name.starts_with("__") && !["Boolean", "Float", "ID", "Int", "String"].contains(&name);
    data.schema.types.into_iter().filter(|kind| own(&kind.name)).map(|kind| (kind.name.clone(), kind)).collect()
}
