//! The public schema follows the conventions, and every code in it is provoked somewhere.

use std::path::{Path, PathBuf};

use anyhow::Result;
use api::graphql::error::ErrorCode;
use domain::error::Code;
use domain::import::FailureCode;
use domain::profile::FieldFault;

use crate::support::introspection::{Input, types};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Fails with all faults at once.
#[track_caller]
fn none(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}

#[test]
fn the_schema_file_is_up_to_date() {
    let file = std::fs::read_to_string(root().join("schema.graphql")).unwrap();
    assert!(file == api::graphql::sdl(), "schema.graphql is out of date: run ./dev schema");
}

#[test]
fn limits_in_descriptions_are_those_that_are_enforced() {
    let limits = domain::infra::config::Config::defaults("").limits;
    let sdl = api::graphql::sdl();
    for text in [
        format!("it comes from: at most {} characters.", domain::profile::FILE_NAME_CHARS),
        format!("as many bytes as configured ({} MB unless changed)", limits.upload_bytes / 1_000_000),
        format!("at most as many as configured ({} unless changed)", limits.bulk),
    ] {
        assert!(sdl.contains(&text), "{text}");
    }
}

#[tokio::test]
async fn everything_is_described() {
    let mut bare = Vec::new();
    for (name, kind) in types().await {
        let mut look = |place: String, description: Option<&str>| {
            if description.is_none_or(|text| text.trim().is_empty()) {
                bare.push(place);
            }
        };
        // The library gives connections no description, and takes none.
        if !name.ends_with("Connection") {
            look(name.clone(), kind.description.as_deref());
        }
        for field in kind.fields() {
            look(format!("{name}.{}", field.name), field.description.as_deref());
            for argument in &field.args {
                look(format!("{name}.{}({})", field.name, argument.name), argument.description.as_deref());
            }
        }
        for field in kind.input_fields() {
            look(format!("{name}.{}", field.name), field.description.as_deref());
        }
        for value in kind.enum_values.iter().flatten() {
            look(format!("{name}.{}", value.name), value.description.as_deref());
        }
    }
    none("without a description", &bare);
}

#[tokio::test]
async fn a_mutation_has_one_input_and_a_payload_of_its_own() {
    let types = types().await;
    let mut faults = Vec::new();
    for field in types["Mutation"].fields() {
        let name = format!("{}{}", field.name[..1].to_uppercase(), &field.name[1..]);
        let inputs: Vec<String> =
            field.args.iter().map(|input| format!("{}: {}", input.name, input.kind.text())).collect();
        if inputs != [format!("input: {name}Input!")] {
            faults.push(format!("{}: takes {inputs:?}", field.name));
        }
        let payload = format!("{name}Payload");
        if field.kind.text() != payload {
            faults.push(format!("{}: answers {}", field.name, field.kind.text()));
            continue;
        }
        let errors = types[&payload].fields().iter().find(|field| field.name == "userErrors");
        if errors.is_none_or(|errors| errors.kind.text() != "[UserError!]!") {
            faults.push(format!("{payload}: no userErrors: [UserError!]!"));
        }
    }
    none("mutations", &faults);
}

#[tokio::test]
async fn a_scalar_names_its_specification() {
    let types = types().await;
    let scalars = types.values().filter(|kind| kind.kind == "SCALAR");
    let bare: Vec<String> =
        scalars.filter(|kind| kind.specified_by_url.is_none()).map(|kind| kind.name.clone()).collect();
    none("without @specifiedBy", &bare);
}

#[tokio::test]
async fn a_list_that_pages_is_a_connection() {
    /// A feed is read in the order in which it is written.
    const FORWARD_ONLY: [&str; 1] = ["accountEvents"];
    let types = types().await;
    let mut faults = Vec::new();
    // What is followed comes one by one.
    for (name, kind) in types.iter().filter(|(name, _)| *name != "Subscription") {
        for field in kind.fields() {
            let pages = field.args.iter().any(|argument| argument.name == "first");
            let connection = field.kind.name().strip_suffix("Connection");
            if pages != connection.is_some() {
                faults.push(format!("{name}.{}: `first` and …Connection go together", field.name));
            }
            let Some(node) = connection else { continue };
            let texts = |inputs: &[Input]| -> Vec<String> {
                inputs.iter().map(|input| format!("{}: {}", input.name, input.kind.text())).collect()
            };
            let wanted = ["first: Int", "after: String", "last: Int", "before: String"];
            for wanted in &wanted[..if FORWARD_ONLY.contains(&field.name.as_str()) { 2 } else { 4 }] {
                if !texts(&field.args).iter().any(|argument| argument == *wanted) {
                    faults.push(format!("{name}.{}: no {wanted}", field.name));
                }
            }
            let has = |name: &str| -> Vec<String> {
                types[name].fields().iter().map(|field| format!("{}: {}", field.name, field.kind.text())).collect()
            };
            let (of_list, of_edge) = (has(field.kind.name()), has(&format!("{node}Edge")));
            for wanted in [format!("edges: [{node}Edge!]!"), format!("nodes: [{node}!]!"), "pageInfo: PageInfo!".into()]
            {
                if !of_list.contains(&wanted) {
                    faults.push(format!("{node}Connection: no {wanted}"));
                }
            }
            for wanted in [format!("node: {node}!"), "cursor: String!".into()] {
                if !of_edge.contains(&wanted) {
                    faults.push(format!("{node}Edge: no {wanted}"));
                }
            }
        }
    }
    none("connections", &faults);
}

#[tokio::test]
async fn what_has_an_id_is_a_node() {
    /// Read where they are made or listed and nowhere else; their descriptions say so.
    const NO_NODES: [&str; 3] = ["Session", "Upload", "User"];
    let mut faults = Vec::new();
    for (name, kind) in types().await.iter().filter(|(_, kind)| kind.kind == "OBJECT") {
        let id = kind.fields().iter().find(|field| field.name == "id");
        let is_a = |wanted: &str| kind.interfaces.iter().flatten().any(|interface| interface.name == wanted);
        let node = is_a("Node");
        let no_node = NO_NODES.contains(&name.as_str()) || is_a("AccountEvent");
        if id.is_some() != (node || no_node) || (node && no_node) {
            faults.push(format!("{name}: Node is {node}"));
        }
        if let Some(id) = id {
            if id.kind.text() != "ID!" {
                faults.push(format!("{name}.id is {}", id.kind.text()));
            }
            if no_node && !id.description.as_deref().is_some_and(|text| text.contains("`node` does not take it")) {
                faults.push(format!("{name}.id does not say that `node` does not take it"));
            }
        }
    }
    none("nodes", &faults);
}

/// All text of the Rust files in and below a folder, but this one.
fn sources(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("node_modules") {
            text += &sources(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("schema.rs") {
            text += &std::fs::read_to_string(&path)?;
        }
    }
    Ok(text)
}

/// The codes that no literal of the tests is or begins with, as in `"NOT_FOUND input.memberId"`.
#[track_caller]
fn provoked(tests: &str, codes: impl Iterator<Item = &'static str>) {
    let expected = |code: &str| ["\"", " "].iter().any(|end| tests.contains(&format!("\"{code}{end}")));
    let missing: Vec<String> = codes.filter(|code| !expected(code)).map(str::to_owned).collect();
    none("no test expects", &missing);
}

#[test]
fn every_code_of_user_errors_is_provoked_by_a_test() {
    let tests = sources(&root().join("tests")).unwrap();
    provoked(&tests, Code::ALL.iter().map(|code| code.as_str()));
}

/// A code of the same name in `userErrors` does not count.
#[test]
fn every_code_of_imports_is_provoked_by_a_test() {
    let tests = sources(&root().join("tests/import")).unwrap();
    let rows = FieldFault::ALL.iter().map(|code| code.as_str());
    provoked(&tests, rows.chain(FailureCode::ALL.iter().map(|code| code.as_str())));
}

#[test]
fn every_code_of_top_level_errors_is_provoked_by_a_test() {
    let own = sources(&root().join("api/src/graphql/http/tests")).unwrap();
    let tests = sources(&root().join("tests")).unwrap() + &own;
    provoked(&tests, ErrorCode::ALL.iter().map(|code| code.as_str()));
}
