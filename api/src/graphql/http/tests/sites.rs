//! Pages of other sites.

use super::toy::toy;
use super::*;

#[tokio::test]
async fn nothing_runs_for_pages_of_other_sites() {
    let toy = toy();
    let json = body("mutation{increment}");
    let foreign = ("origin", "https://evil.example");
    for (content_type, text) in [
        ("application/json", json.as_str()),
        ("text/plain", &json),
        ("application/x-www-form-urlencoded", "query=mutation%7Bincrement%7D"),
        (
            "multipart/form-data; boundary=x",
            "--x\r\ncontent-disposition: form-data; name=operations\r\n\r\n{}\r\n--x--",
        ),
    ] {
        let answer =
            send(&toy, request(Method::POST, "/graphql", &[("content-type", content_type), foreign], text)).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (StatusCode::FORBIDDEN, vec!["FORBIDDEN".to_owned()]),
            "{content_type}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    for headers in
        [&[foreign][..], &[("sec-fetch-site", "cross-site")], &[("sec-fetch-site", "same-site")], &[("origin", "null")]]
    {
        assert_eq!(get(&toy, "{hello}", headers).await.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    let preflight = request(Method::OPTIONS, "/graphql", &[foreign, ("access-control-request-method", "POST")], "");
    let answer = send(&toy, preflight).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (StatusCode::FORBIDDEN, ""));
    assert_eq!(toy.calls(), 0);
}

#[tokio::test]
async fn bodies_that_need_no_preflight_are_not_read() {
    let toy = toy();
    let json = body("mutation{increment}");
    let types = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json; charset=utf-16",
    ];
    for content_type in types {
        let answer = send(&toy, request(Method::POST, "/graphql", &[("content-type", content_type)], &json)).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    let answer = send(&toy, request(Method::POST, "/graphql", &[], &json)).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let batch = format!("[{json}]");
    let answer = send(&toy, request(Method::POST, "/graphql", &[JSON], &batch)).await;
    assert_eq!((answer.status, answer.codes()), (StatusCode::BAD_REQUEST, vec!["BAD_USER_INPUT".to_owned()]));
    assert_eq!(toy.calls(), 0);
}

#[tokio::test]
async fn allowed_origins_pass_with_their_own_name() {
    let toy = toy();
    for origin in ["https://app.example.com", "https://muster.example.com"] {
        let from = ("origin", origin);
        let preflight =
            send(&toy, request(Method::OPTIONS, "/graphql", &[from, ("access-control-request-method", "POST")], ""))
                .await;
        assert_eq!(preflight.status, StatusCode::NO_CONTENT);
        assert_eq!(preflight.header("access-control-allow-origin"), origin);
        assert_eq!(preflight.header("access-control-allow-headers"), "authorization, content-type, x-muster-csrf");
        let answer = send(&toy, request(Method::POST, "/graphql", &[JSON, from], &body("{hello}"))).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (StatusCode::OK, origin));
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert!(answer.header("vary").contains("Origin"));
    }
    let direct = post(&toy, "{hello}").await;
    assert_eq!(direct.header("access-control-allow-origin"), "");
}
