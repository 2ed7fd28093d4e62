use std::fmt::Write as _;

use async_graphql::parser::parse_query;
use async_graphql::{Value, value};

use super::*;

/// The introspection query of graphql-js 16 with every option on, as code generators send it.
const INTROSPECTION: &str = include_str!("introspection.graphql");

fn limits() -> GuardLimits {
    GuardLimits {
        document_bytes: 16 * 1024,
        depth: 12,
        selections: 1_000,
        aliases: 15,
        directives: MAX_DIRECTIVES,
        input_values: MAX_INPUT_VALUES,
        levels: MAX_LEVELS,
        introspection_depth: MAX_INTROSPECTION_DEPTH,
        introspection_lists: MAX_INTROSPECTION_LISTS,
        introspection_cost: MAX_INTROSPECTION_COST,
    }
}

/// The same for an installation that allows documents of any length, so that the other limits must hold.
fn long_documents() -> GuardLimits {
    GuardLimits { document_bytes: usize::MAX, ..limits() }
}

fn check(text: &str, limits: &GuardLimits) -> Result<InputProfile, Refusal> {
    check_text(text, limits)?;
    let types = TypeNames::of_sdl("input Filter {");
    check_document(&parse_query(text).expect("the test's document parses"), limits, &types)
}

fn refused(text: &str, limits: &GuardLimits) -> (&'static str, usize, usize) {
    match check(text, limits) {
        Err(Refusal::Exceeded { limit, maximum, requested }) => (limit, maximum, requested),
        other => panic!("not refused by a limit: {other:?}"),
    }
}

/// `{a{a{…}}}`, `depth` fields inside each other.
fn nested(depth: usize) -> String {
    format!("{}{}", "{a".repeat(depth), "}".repeat(depth))
}

/// Fragments that each spread the next one twice.
fn bomb(fragments: usize) -> String {
    let mut text = "{...f0}".to_owned();
    for index in 0..fragments {
        write!(text, "fragment f{index} on Q{{...f{0} ...f{0}}}", index + 1).unwrap();
    }
    write!(text, "fragment f{fragments} on Q{{a}}").unwrap();
    text
}

#[test]
fn a_limit_is_inclusive() {
    assert!(check(&nested(12), &limits()).is_ok());
    assert_eq!(refused(&nested(13), &limits()), ("depth", 12, 13));
    let fields = |count: usize| format!("{{{}}}", "a ".repeat(count));
    assert!(check(&fields(1_000), &limits()).is_ok());
    assert_eq!(refused(&fields(1_001), &limits()), ("selections", 1_000, 1_001));
    let aliases =
        |count: usize| format!("{{{}}}", (0..count).fold(String::new(), |text, index| text + &format!("x{index}:a ")));
    assert!(check(&aliases(15), &limits()).is_ok());
    assert_eq!(refused(&aliases(16), &limits()), ("aliases", 15, 16));
}

#[test]
fn a_fragment_bomb_is_counted_without_expanding_it() {
    assert_eq!(refused(&bomb(24), &limits()), ("selections", 1_000, 3 * (1 << 24) - 1));
    assert_eq!(refused(&bomb(31), &limits()).0, "selections");
    // Too many levels for the sum to be known; and numbers that no integer holds.
    assert_eq!(refused(&bomb(300), &limits()).0, "levels");
    assert_eq!(refused(&bomb(300), &GuardLimits { levels: 400, ..limits() }), ("selections", 1_000, usize::MAX));
}

#[test]
fn fragments_count_where_they_are_spread_and_once_where_they_are_not() {
    let spread = "{a{...f} b{...f}} fragment f on Q{c{d}}";
    assert_eq!(refused(spread, &GuardLimits { selections: 7, ..limits() }), ("selections", 7, 8));
    assert_eq!(refused(spread, &GuardLimits { depth: 2, ..limits() }), ("depth", 2, 3));
    let unused = format!("{{a}} fragment f on Q{{{}}}", "a ".repeat(1_001));
    assert_eq!(refused(&unused, &limits()), ("selections", 1_000, 1_002));
    let operations =
        (0..600).fold(String::new(), |text, index| text + &format!("query q{index}{{...f}}")) + "fragment f on Q{a b}";
    assert_eq!(refused(&operations, &limits()), ("selections", 1_000, 1_800));
}

#[test]
fn cycles_are_refused_wherever_they_are() {
    for text in [
        "{...f} fragment f on Q{...f}",
        "{a} fragment f on Q{b{...g}} fragment g on Q{...f}",
        "{__schema{...f}} fragment f on __Schema{types{...g}} fragment g on __Type{...f}",
    ] {
        assert!(matches!(check(text, &limits()), Err(Refusal::Cycle { .. })), "{text}");
    }
}

#[test]
fn nesting_is_refused_before_parsing() {
    for hostile in [
        "{a".repeat(5_000),
        "{a(b:".to_owned() + &"[".repeat(16_000),
        "{a(b:".to_owned() + &"{c:".repeat(5_000),
        "(".repeat(16_000),
    ] {
        let refusal = check_text(&hostile, &limits()).unwrap_err();
        assert!(matches!(refusal, Refusal::Exceeded { limit: "nesting", maximum: MAX_NESTING, .. }), "{refusal:?}");
    }
    // What passes the scan is parsed in the stack of a test thread.
    let list = format!("{{a(b:{}{})}}", "[".repeat(MAX_NESTING - 2), "]".repeat(MAX_NESTING - 2));
    assert!(check(&list, &limits()).is_ok());
    assert_eq!(refused(&nested(60), &limits()).0, "levels");
}

#[test]
fn fragments_do_not_deepen_the_recursion() {
    // Each fragment nests as deep as a document may and spreads the next at the bottom.
    let mut text = "{...f0}".to_owned();
    for index in 0..100 {
        write!(text, "fragment f{index} on Q{}...f{}{}", "{a".repeat(60) + "{", index + 1, "}".repeat(61)).unwrap();
    }
    text += "fragment f100 on Q{a}";
    assert_eq!(refused(&text, &long_documents()).0, "levels");
}

#[test]
fn a_hundred_thousand_aliases() {
    let text = format!("{{{}}}", (0..100_000).fold(String::new(), |text, index| text + &format!("x{index}:a ")));
    assert_eq!(refused_text(&text), ("documentBytes", 16 * 1024, text.len()));
    let limits = GuardLimits { selections: usize::MAX, ..long_documents() };
    assert_eq!(refused(&text, &limits), ("aliases", 15, 100_000));
}

fn refused_text(text: &str) -> (&'static str, usize, usize) {
    match check_text(text, &limits()) {
        Err(Refusal::Exceeded { limit, maximum, requested }) => (limit, maximum, requested),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn directives_are_counted_everywhere() {
    let flood = "@a".repeat(51);
    for text in [
        format!("{{a{flood}}}"),
        format!("query {flood}{{a}}"),
        format!("query($v:Int{flood}){{a(b:$v)}}"),
        format!("{{...{flood}{{a}}}}"),
        format!("{{...f{flood}}}fragment f on Q{{a}}"),
        format!("{{...f}}fragment f on Q{flood}{{a}}"),
        format!("{{{}}}", "a@a ".repeat(51)),
    ] {
        assert_eq!(refused(&text, &limits()), ("directives", 50, 51), "{text}");
    }
}

#[test]
fn input_values_are_counted_with_fragments_expanded() {
    let list = format!("{{a(b:[{}])}}", "1 ".repeat(20_000));
    assert_eq!(refused(&list, &long_documents()), ("inputValues", 20_000, 20_001));
    let string = format!("{{a(b:\"{}\")}}", "x".repeat(64 * 100));
    assert_eq!(refused(&string, &GuardLimits { input_values: 100, ..limits() }), ("inputValues", 100, 101));
    let spread = format!("{{{}}}fragment f on Q{{a(b:[{}])}}", "...f ".repeat(100), "1 ".repeat(1_000));
    assert_eq!(refused(&spread, &limits()).0, "inputValues");
}

#[test]
fn a_variable_counts_as_often_as_it_is_read() {
    let text = format!("query($v:[Int]){{{}...f ...f}} fragment f on Q{{c(d:{{e:[$v]}})}}", "a(b:$v) ".repeat(3));
    let profile = check(&text, &limits()).unwrap();
    let variables = |count: usize| Variables::from_value(value!({ "v": vec![Value::from(1); count] }));
    assert!(check_variables(&profile, &variables(3_000), &limits()).is_ok());
    let refusal = check_variables(&profile, &variables(3_400), &limits()).unwrap_err();
    assert!(
        matches!(refusal, Refusal::Exceeded { limit: "inputValues", requested, .. } if requested > 6 * 3_400),
        "{refusal:?}"
    );
    // An unused one counts, too.
    let refusal = check_variables(&InputProfile::default(), &variables(30_000), &limits()).unwrap_err();
    assert!(matches!(refusal, Refusal::Exceeded { requested: 30_001, .. }), "{refusal:?}");
}

#[test]
fn a_default_counts_where_no_value_is_sent() {
    let text = format!("query($v:[Int]=[{}]){{{}}}", "1 ".repeat(1_000), "a(b:$v) ".repeat(30));
    let profile = check(&text, &limits()).unwrap();
    assert!(check_variables(&profile, &Variables::default(), &limits()).is_err());
    assert!(check_variables(&profile, &Variables::from_value(value!({ "v": [1] })), &limits()).is_ok());
}

#[test]
fn introspection_has_limits_of_its_own() {
    let profile = check(INTROSPECTION, &limits()).expect("code generators can read the schema");
    assert!(check_variables(&profile, &Variables::default(), &limits()).is_ok());
    let cost = cost::of_document(&parse_query(INTROSPECTION).unwrap(), MAX_LEVELS).unwrap();
    let (asked, maximum) = (cost.expanded.introspection_cost, MAX_INTROSPECTION_COST);
    assert!(asked * 4 / 3 < maximum && maximum < asked * 5 / 3, "{asked}");
    // Elsewhere the same depth is refused.
    assert_eq!(refused(&INTROSPECTION.replace("__schema", "schema"), &limits()).0, "depth");
}

#[test]
fn introspection_is_no_way_round() {
    let deep = format!("{{__type(name:\"A\"){}}}", "{ofType".repeat(21) + "{name" + &"}".repeat(22));
    assert_eq!(refused(&deep, &limits()), ("introspectionDepth", 20, 23));
    let lists = "{__schema{types{fields{type{fields{name}}}}}}";
    assert_eq!(refused(lists, &limits()), ("introspectionLists", 2, 3));
    let through_fragments =
        "{__schema{types{...f}}} fragment f on __Type{fields{type{...g}}} fragment g on __Type{possibleTypes{name}}";
    assert_eq!(refused(through_fragments, &limits()), ("introspectionLists", 2, 3));
    let repeated = format!("{{__schema{{{}}}}}", "types{fields{args{name}}} ".repeat(240));
    assert_eq!(refused(&repeated, &limits()).0, "introspectionCost");
    // Data beside introspection keeps its own depth, and an alias changes nothing.
    let beside = format!("{{__schema{{queryType{{name}}}} a{}}}", nested(12));
    assert_eq!(refused(&beside, &limits()), ("depth", 12, 13));
    let alias = format!("{{__schema:a{}}}", nested(12));
    assert_eq!(refused(&alias, &limits()), ("depth", 12, 13));
}

#[test]
fn a_mutation_selects_each_field_once() {
    assert!(check("mutation{a:create b:create __typename __typename}", &limits()).is_ok());
    assert!(check("{a{b} a{c}}", &limits()).is_ok());
    for text in [
        "mutation{create{id} create{name}}",
        "mutation{a:create ...f} fragment f on Mutation{a:create}",
        "mutation{...f ...f} fragment f on Mutation{create}",
        "mutation{create ...{create}}",
    ] {
        assert!(matches!(check(text, &limits()), Err(Refusal::RepeatedMutation { .. })), "{text}");
    }
}

#[test]
fn the_error_names_the_limit() {
    let error = check(&nested(13), &limits()).unwrap_err().into_error();
    let text = serde_json::to_string(&error).unwrap();
    for part in ["\"code\":\"COST_LIMIT_EXCEEDED\"", "\"limit\":\"depth\"", "\"maximum\":12", "\"requested\":13"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_default_for_a_list_of_an_unknown_type_is_refused() {
    for text in ["query($v:[Nothing!]=[1]){a(b:$v)}", "query($v:[[Nothing]]!=[]){a(b:$v)}"] {
        let refusal = check(text, &limits()).unwrap_err();
        assert!(matches!(&refusal, Refusal::UnknownType { name, .. } if name == "Nothing"), "{text}");
    }
    for text in ["query($v:[Filter!]=[]){a(b:$v)}", "query($v:[[Int]]=[]){a(b:$v)}", "query($v:[Nothing]){a(b:$v)}"] {
        assert!(check(text, &limits()).is_ok(), "{text}");
    }
}
