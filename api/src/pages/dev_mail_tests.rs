use std::os::unix::fs::symlink;

use axum::body::{Body, to_bytes};
use tower::ServiceExt as _;

use super::*;

const INVITATION: &[u8] = include_bytes!("../../../tests/fixtures/mail/invitation.eml");
const LINK: &str = "https://muster.example/i/inv_1?a=b&c=d";
const FIRST: &str = "1764000000000000-job-1@muster.example";
const SECOND: &str = "1764000000000001-job-2@muster.example";

/// A folder that goes away with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("dev-mail-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// With two mails, a half-written one and other files.
    fn filled() -> Self {
        let folder = Self::new();
        folder.put(&format!("{FIRST}.eml"), INVITATION);
        let other = String::from_utf8(INVITATION.to_vec()).unwrap().replace("ann@firm.example", "bob@firm.example");
        folder.put(&format!("{SECOND}.eml"), other.as_bytes());
        folder.put(".half.eml", b"To: x");
        folder.put("notes.txt", b"secret");
        folder
    }

    fn put(&self, name: &str, content: &[u8]) {
        std::fs::write(self.0.join(name), content).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn get_as(folder: &Folder, host: &str, path: &str) -> (u16, HeaderMap, String) {
    get_from(folder, "127.0.0.1:40000", host, path).await
}

async fn get_from(folder: &Folder, peer: &str, host: &str, path: &str) -> (u16, HeaderMap, String) {
    let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
    let peer: SocketAddr = peer.parse().unwrap();
    let pages = router(folder.0.clone()).layer(axum::Extension(ConnectInfo(peer)));
    let response = pages.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(folder: &Folder, path: &str) -> (u16, HeaderMap, String) {
    get_as(folder, "localhost:8080", path).await
}

async fn json(folder: &Folder, path: &str) -> serde_json::Value {
    let (status, headers, body) = get(folder, path).await;
    assert_eq!((status, &headers["content-type"]), (200, &"application/json".parse().unwrap()));
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_list_is_newest_first() {
    let (status, _, html) = get(&Folder::filled(), "/dev/mail").await;
    assert_eq!(status, 200);
    let (first, second) = (html.find(FIRST).unwrap(), html.find(SECOND).unwrap());
    assert!(second < first);
    assert!(html.contains("Jane Doe invites you to Doe &amp; Roe") && html.contains("2025-11-24 16:00:00"), "{html}");
    assert_eq!(html.matches("<tr>").count(), 3);
}

#[tokio::test]
async fn an_outbox_without_mails_or_without_its_folder_is_empty() {
    let folder = Folder::new();
    assert!(get(&folder, "/dev/mail").await.2.contains("None yet."));
    std::fs::remove_dir(&folder.0).unwrap();
    assert!(get(&folder, "/dev/mail").await.2.contains("None yet."));
    assert_eq!(json(&folder, "/dev/mail.json").await, serde_json::json!([]));
}

#[tokio::test]
async fn scripts_read_text_and_links() {
    let folder = Folder::filled();
    let all = json(&folder, "/dev/mail.json").await;
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(all[0]["id"], SECOND);
    assert_eq!(all[1]["to"], "ann@firm.example");
    assert_eq!(all[1]["subject"], "Jane Doe invites you to Doe & Roe");
    assert_eq!(all[1]["links"], serde_json::json!([LINK]));
    assert_eq!(all[1]["time"], "2025-11-24T16:00:00Z");
    assert!(all[1]["text"].as_str().unwrap().contains("> Welcome, Zoë!\n> See you on Monday."));

    assert_eq!(json(&folder, "/dev/mail.json?limit=1").await.as_array().unwrap().len(), 1);
    let anns = json(&folder, "/dev/mail.json?limit=1&to=Ann@firm.example").await;
    assert_eq!(anns[0]["id"], FIRST);
}

#[tokio::test]
async fn a_mail_is_shown_as_html_text_and_raw() {
    let folder = Folder::filled();
    let (status, headers, page) = get(&folder, &format!("/dev/mail/{FIRST}")).await;
    assert_eq!(status, 200);
    assert!(page.contains("Ann Lee &lt;ann@firm.example&gt;") && page.contains("Welcome, Zoë!"), "{page}");
    assert!(
        page.contains(
            "sandbox=\"allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation\""
        )
    );
    assert!(headers["content-security-policy"].to_str().unwrap().contains("frame-src 'self'"));

    let (_, headers, html) = get(&folder, &format!("/dev/mail/{FIRST}/html")).await;
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'")
            && policy.contains("; sandbox allow-popups ")
            && !policy.contains("script")
    );
    assert!(
        html.contains("<head><base target=\"_top\">")
            && html.contains("href=\"https://muster.example/i/inv_1?a=b&amp;c=d\""),
        "{html}"
    );

    let (_, headers, raw) = get(&folder, &format!("/dev/mail/{FIRST}/raw")).await;
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(raw.as_bytes(), INVITATION);
}

#[tokio::test]
async fn only_mails_of_the_folder_itself_are_reachable() {
    let folder = Folder::filled();
    let outside = Folder::new();
    outside.put("1-outside.eml", INVITATION);
    symlink(outside.0.join("1-outside.eml"), folder.0.join("2-link.eml")).unwrap();
    let name = outside.0.file_name().unwrap().to_str().unwrap();
    for id in [
        format!("..%2F{name}%2F1-outside"),
        format!("1-..%2F..%2F{name}%2F1-outside"),
        "notes.txt%00".to_owned(),
        "notes".to_owned(),
        ".half".to_owned(),
        "2-link".to_owned(),
        "1-absent".to_owned(),
        format!("1-{}", "x".repeat(300)),
    ] {
        for part in ["", "/html", "/raw"] {
            assert_eq!(get(&folder, &format!("/dev/mail/{id}{part}")).await.0, 404, "{id}{part}");
        }
    }
}

#[tokio::test]
async fn a_mail_with_markup_in_its_headers_is_harmless() {
    let folder = Folder::new();
    let mail = b"From: a@b.example\r\nTo: \"<script>x</script>\" <c@d.example>\r\nSubject: <img src=x>\r\n\r\nsee javascript:alert(1) http://x.example/a.\r\n";
    folder.put("5-x.eml", mail);
    for path in ["/dev/mail", "/dev/mail/5-x"] {
        let (_, _, html) = get(&folder, path).await;
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("href=\"javascript"), "{html}");
    }
    assert_eq!(json(&folder, "/dev/mail.json").await[0]["links"], serde_json::json!(["http://x.example/a"]));
}

#[tokio::test]
async fn only_loopback_names_are_answered() {
    let folder = Folder::filled();
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "[::1]"] {
        assert_eq!(get_as(&folder, host, "/dev/mail.json").await.0, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "", "127.0.0.1.evil.example:80"] {
        assert_eq!(get_as(&folder, host, "/dev/mail.json").await.0, 403, "{host}");
    }
}

#[tokio::test]
async fn other_hosts_are_not_answered_whatever_they_call_us() {
    let folder = Folder::filled();
    for peer in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(get_from(&folder, peer, "localhost", "/dev/mail.json").await.0, 200, "{peer}");
    }
    for peer in ["10.0.0.7:1", "[2001:db8::1]:1", "[::ffff:10.0.0.7]:1"] {
        assert_eq!(get_from(&folder, peer, "localhost", "/dev/mail.json").await.0, 403, "{peer}");
    }
    let unknown = Request::get("/dev/mail.json").header("host", "localhost").body(Body::empty()).unwrap();
    assert_eq!(router(folder.0.clone()).oneshot(unknown).await.unwrap().status(), StatusCode::FORBIDDEN);
}
