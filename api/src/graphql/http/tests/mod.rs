mod hostile;
mod lifecycle;
mod protocol;
mod sites;
mod toy;

use axum::http::{HeaderName, HeaderValue, Method, Request as HttpRequest, StatusCode};
use axum::response::Response;
use serde_json::Value as Json;

use self::toy::Toy;
use super::*;

/// An answer, read.
struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self { status: head.status, headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Codes of all errors.
    fn codes(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        for error in &errors {
            assert_eq!(error["extensions"]["requestId"], "req-1", "{error}");
        }
        errors.iter().map(|error| error["extensions"]["code"].as_str().expect("a code").to_owned()).collect()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn request(method: Method, uri: &str, headers: &[(&'static str, &str)], body: &str) -> HttpRequest<Body> {
    let mut request = HttpRequest::builder().method(method).uri(uri).body(Body::from(body.to_owned())).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    request
}

async fn send(toy: &Toy, request: HttpRequest<Body>) -> Answer {
    Answer::read(toy.call(request).await).await
}

const JSON: (&str, &str) = ("content-type", "application/json");
const STRICT: (&str, &str) = ("accept", "application/graphql-response+json");

fn body(query: &str) -> String {
    serde_json::json!({ "query": query }).to_string()
}

async fn post(toy: &Toy, query: &str) -> Answer {
    send(toy, request(Method::POST, "/graphql", &[JSON, STRICT], &body(query))).await
}

async fn post_with(toy: &Toy, query: &str, variables: Json) -> Answer {
    let body = serde_json::json!({ "query": query, "variables": variables }).to_string();
    send(toy, request(Method::POST, "/graphql", &[JSON, STRICT], &body)).await
}

async fn get(toy: &Toy, query: &str, headers: &[(&'static str, &str)]) -> Answer {
    let uri = format!("/graphql?query={}", query.replace('{', "%7B").replace('}', "%7D").replace(' ', "+"));
    send(toy, request(Method::GET, &uri, headers, "")).await
}
