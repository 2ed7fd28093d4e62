//! The parameters of a request: `query`, `operationName`, `variables`, `extensions`.

use async_graphql::Variables;
use axum::extract::Query;
use axum::http::Uri;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Any JSON object.
type Map = serde_json::Map<String, serde_json::Value>;

/// Parameters of one request. Extensions are accepted, as the protocol asks, and have no effect.
/// Not `Debug`: variables hold passwords.
#[cfg_attr(test, derive(Debug))]
pub struct Params {
    pub(super) query: String,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Variables,
}

/// Body of a POST, and payload of a socket's `subscribe`. JSON nested deeper than 128 levels is refused by the JSON parser.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    query: Option<String>,
    operation_name: Option<String>,
    #[serde(default)]
    variables: Variables,
    #[serde(rename = "extensions")]
    _extensions: Option<Map>,
}

/// Query string of a GET, in which maps are JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetParams {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

impl Params {
    /// From the body of a POST; the error says what is wrong with it.
    pub(super) fn from_body(body: &[u8]) -> Result<Self, String> {
        match body.trim_ascii_start().first() {
            Some(b'{') => {}
            Some(b'[') => {
                return Err("Send one request at a time: batches are not supported.".into());
            }
            _ => return Err("The body must be a JSON object with the key \"query\".".into()),
        }
        let body: Body =
            serde_json::from_slice(body).map_err(|error| format!("The body is not a GraphQL request: {error}."))?;
        Self::new(body.query, body.operation_name, body.variables)
    }

    /// From the query string of a GET.
    pub(super) fn from_uri(uri: &Uri) -> Result<Self, String> {
        let Query(params) = Query::<GetParams>::try_from_uri(uri)
            .map_err(|_| "The query string must have \"query\" and may have \"operationName\", \"variables\" and \"extensions\", each once.".to_owned())?;
        let variables = map_parameter("variables", params.variables.as_deref())?;
        map_parameter::<Option<Map>>("extensions", params.extensions.as_deref())?;
        Self::new(params.query, params.operation_name, variables)
    }

    /// From the payload of a socket's `subscribe`, which is a JSON object; `None` if it is not what the protocol wants.
    pub(super) fn from_payload(payload: &str) -> Option<Self> {
        let body: Body = serde_json::from_str(payload).ok()?;
        let operation_name = body.operation_name.filter(|name| !name.is_empty());
        Some(Self { query: body.query?, operation_name, variables: body.variables })
    }

    fn new(query: Option<String>, operation_name: Option<String>, variables: Variables) -> Result<Self, String> {
        let query = query.filter(|query| !query.is_empty()).ok_or("The parameter \"query\" is missing.")?;
        Ok(Self { query, operation_name: operation_name.filter(|name| !name.is_empty()), variables })
    }
}

fn map_parameter<T: DeserializeOwned + Default>(name: &str, text: Option<&str>) -> Result<T, String> {
    match text.filter(|text| !text.is_empty()) {
        None => Ok(T::default()),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| format!("The parameter \"{name}\" must be a JSON object: {error}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(query: &str) -> Result<Params, String> {
        Params::from_uri(&format!("/graphql?{query}").parse().unwrap())
    }

    #[test]
    fn both_forms_have_the_same_parameters() {
        let body = br#" {"query":"query Q { a }","operationName":"Q","variables":{"x":[1]},"extensions":{"y":1}}"#;
        let posted = Params::from_body(body).unwrap();
        let got = get(
            "query=query%20Q+%7B%20a%20%7D&operationName=Q&variables=%7B%22x%22:%5B1%5D%7D&extensions=%7B%22y%22:1%7D",
        )
        .unwrap();
        assert_eq!((&posted.query, &posted.operation_name), (&got.query, &got.operation_name));
        assert_eq!(posted.variables, got.variables);
        assert_eq!(posted.query, "query Q { a }");
    }

    #[test]
    fn faults_are_told() {
        for (body, fault) in [
            (&b"[{\"query\":\"{a}\"}]"[..], "batches"),
            (b"", "JSON object"),
            (b"\"{a}\"", "JSON object"),
            (b"{", "not a GraphQL request"),
            (b"{\"variables\":{}}", "\"query\" is missing"),
            (b"{\"query\":null}", "\"query\" is missing"),
            (b"{\"query\":[\"{a}\"]}", "expected a string"),
            (b"{\"query\":\"{a}\",\"query\":\"{b}\"}", "duplicate"),
            (b"{\"query\":\"{a}\",\"variables\":[]}", "expected a map"),
            (b"{\"query\":\"{a}\",\"extensions\":[]}", "expected a map"),
            (b"{\"query\":\"\xff\"}", "not a GraphQL request"),
        ] {
            let error = Params::from_body(body).unwrap_err();
            assert!(error.contains(fault), "{error}");
        }
        assert!(get("query=%7Ba%7D&query=%7Bb%7D").is_err());
        assert!(get("query=%7Ba%7D&variables=%5B%5D").is_err());
        assert!(get("").is_err());
    }

    #[test]
    fn deep_variables_are_refused_without_recursing() {
        let deep = format!("{{\"query\":\"{{a}}\",\"variables\":{{\"x\":{}", "[".repeat(90_000));
        assert!(Params::from_body(deep.as_bytes()).unwrap_err().contains("recursion limit"));
    }
}
