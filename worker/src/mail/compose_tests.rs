use std::sync::LazyLock;

use mail_parser::{Message as Parsed, MessageParser, MimeHeaders as _};
use proptest::prelude::*;

use super::*;
use crate::mail::transport::test_mail::{Folder, settings};

const URL: &str = "https://muster.example/i/inv_1?a=b&c=d";
const HEADERS: [&str; 8] =
    ["Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];

fn date() -> Timestamp {
    Timestamp("2026-11-21T19:00:00Z".parse().unwrap())
}

fn invitation(account_name: &str, inviter_name: &str, message: &str) -> Mail {
    Mail::Invitation {
        account_name: account_name.to_owned(),
        inviter_name: Some(inviter_name.to_owned()),
        first_name: Some("Ann".to_owned()),
        message: Some(message.to_owned()),
        url: URL.to_owned(),
        lifetime: "24 hours".to_owned(),
    }
}

fn compose(mail: &Mail, name: Option<&str>) -> Composed {
    static COMPOSER: LazyLock<Composer> = LazyLock::new(|| Composer::new(&settings(25)).unwrap());
    COMPOSER.compose(mail, Recipient { name, address: "ann@firm.example" }, "job-1@muster.example", date()).unwrap()
}

fn parse(mail: &Composed) -> Parsed<'_> {
    MessageParser::new().parse(&mail.raw).unwrap()
}

/// Every address of the HTML, apart from the name of its namespace.
fn addresses(html: &str) -> Vec<String> {
    let html = html.replace("http://www.w3.org/1999/xhtml", "");
    let starts = html.match_indices("//").map(|(at, _)| at);
    let scheme = |at: usize| html[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && c != ':').map_or(0, |i| i + 1);
    let end = |at: usize| at + html[at..].find(['"', '<', ' ', '\'', ')']).unwrap_or(html.len() - at);
    starts.map(|at| html[scheme(at)..end(at)].replace("&amp;", "&")).collect()
}

/// Headers, parts and links of a mail are ours, whatever the values are.
fn assert_intact(mail: &Composed, links: &[&str]) {
    let parsed = parse(mail);
    let names: Vec<&str> = parsed.headers().iter().map(mail_parser::Header::name).collect();
    assert_eq!(names, HEADERS);
    let from = parsed.from().unwrap().clone().into_list();
    assert_eq!((from.len(), from[0].address()), (1, Some("muster@muster.example")));
    let to = parsed.to().unwrap().clone().into_list();
    assert_eq!((to.len(), to[0].address()), (1, Some("ann@firm.example")));
    assert_eq!(parsed.message_id(), Some("job-1@muster.example"));
    assert_eq!(parsed.header("Auto-Submitted").and_then(|value| value.as_text()), Some("auto-generated"));
    assert_eq!(parsed.date().unwrap().to_timestamp(), date().as_second());

    let kinds: Vec<_> =
        parsed.parts.iter().map(|part| part.content_type().and_then(|kind| kind.c_subtype.as_deref())).collect();
    assert_eq!(kinds, [Some("alternative"), Some("plain"), Some("html")]);
    assert!(parsed.parts[1..].iter().all(|part| part.content_transfer_encoding() == Some("quoted-printable")));
    let raw = String::from_utf8(mail.raw.clone()).expect("ASCII only");
    assert!(raw.is_ascii() && raw.split("\r\n").all(|line| line.len() < 998 && !line.contains(['\r', '\n', '\0'])));

    let html = parsed.body_html(0).unwrap();
    let found = addresses(&html);
    assert!(
        found.is_empty() == links.is_empty() && found.iter().all(|found| links.contains(&found.as_str())),
        "{found:?}"
    );
    for forbidden in ["<script", "<img", "<link", "<form", "<iframe", "url(", "@import"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    let text = parsed.body_text(0).unwrap();
    assert!(links.iter().all(|link| text.contains(link)));
}

#[test]
fn every_mail_has_both_parts_and_only_its_own_links() {
    for mail in samples() {
        let linkless = matches!(
            mail,
            Mail::SignUpExisting { sign_in_url: None }
                | Mail::PasswordChanged { reset_url: None, .. }
                | Mail::Succession { .. }
                | Mail::ValidityEnd { .. }
                | Mail::Billing { .. }
                | Mail::ImportSummary(ImportSummary { failed_rows_url: None, .. })
        );
        let links: &[&str] = if linkless { &[] } else { &["https://muster.example.com/a?b=1&c=2"] };
        assert_intact(&compose(&mail, Some("Ann Lee")), links);
    }
}

#[test]
fn an_invitation_says_who_invites_and_quotes_the_message() {
    let mail =
        compose(&invitation("Doe & Roe", "Jane \"JD\" Doe", "Welcome!\r\n\r\n{{ url }} <b>bold</b>"), Some("Ann Lee"));
    let parsed = parse(&mail);
    assert_eq!(parsed.subject(), Some("Jane \"JD\" Doe invites you to Doe & Roe"));
    assert_eq!(parsed.to().unwrap().first().unwrap().name(), Some("Ann Lee"));
    let text = parsed.body_text(0).unwrap();
    assert!(text.contains("Jane \"JD\" Doe wrote:"), "{text}");
    assert!(text.contains("> Welcome!") && text.contains("> {{ url }} <b>bold</b>"), "{text}");
    assert!(text.contains("The link works for 24 hours."));
    let html = parsed.body_html(0).unwrap();
    assert!(html.contains("Welcome!<br /><br />{{ url }} &lt;b&gt;bold&lt;/b&gt;</blockquote>"), "{html}");
    assert!(html.contains("<strong>Doe &amp; Roe</strong>"), "{html}");
}

#[test]
fn an_invitation_without_names_or_message_still_reads_well() {
    let mail = compose(&invitation("Doe", " \u{202e}\r\n", "\r\n"), Some("\0\r\n"));
    let parsed = parse(&mail);
    assert_eq!(parsed.subject(), Some("You are invited to Doe"));
    assert_eq!(parsed.to().unwrap().first().unwrap().name(), None);
    assert!(!parsed.body_text(0).unwrap().contains("wrote:"));
}

#[test]
fn the_same_mail_is_the_same_bytes() {
    let mail = invitation("Doe", "Jane", "Hello");
    assert_eq!(compose(&mail, Some("Ann")), compose(&mail, Some("Ann")));
}

#[test]
fn the_change_of_a_password_names_its_time() {
    let mail = compose(&Mail::PasswordChanged { when: date(), reset_url: Some(URL.to_owned()) }, None);
    assert!(parse(&mail).body_text(0).unwrap().contains("on 21 November 2026 at 19:00 UTC."));
}

#[test]
fn without_a_page_to_link_to_a_mail_promises_none() {
    let changed = compose(&Mail::PasswordChanged { when: date(), reset_url: None }, None);
    let text = parse(&changed).body_text(0).unwrap().into_owned();
    assert!(!text.contains("here:") && text.contains("ask for a new password where you sign in"), "{text}");
    let existing = compose(&Mail::SignUpExisting { sign_in_url: None }, None);
    let text = parse(&existing).body_text(0).unwrap().into_owned();
    assert!(text.contains("It can already be used to sign in") && !text.contains("none"), "{text}");
}

#[test]
fn a_bad_address_or_message_id_is_refused_without_being_repeated() {
    let composer = Composer::new(&settings(25)).unwrap();
    let mail = Mail::SignUpExisting { sign_in_url: Some(URL.to_owned()) };
    for address in ["ann", "ann@firm.example\r\nBcc: eve@firm.example", "a@b@c", ""] {
        let fault = composer.compose(&mail, Recipient { name: None, address }, "1@muster.example", date()).unwrap_err();
        assert!(matches!(fault, ComposeError::Address));
        assert!(!fault.to_string().contains("firm"));
    }
    for id in ["1", "1@a@b", "1@muster.example>\r\nBcc: <eve@firm.example", "../1@muster.example", "@", "ä@b"] {
        let to = Recipient { name: None, address: "ann@firm.example" };
        assert!(matches!(composer.compose(&mail, to, id, date()), Err(ComposeError::MessageId)), "{id}");
    }
}

#[test]
fn the_fixture_of_the_outbox_viewer_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/mail/invitation.eml");
    let mail = compose(&invitation("Doe & Roe", "Jane Doe", "Welcome, Zoë!\nSee you on Monday."), Some("Ann Lee"));
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&path, &mail.raw).unwrap();
    }
    assert!(std::fs::read(path).unwrap() == mail.raw, "run this test again with UPDATE_FIXTURES=1");
}

fn replaced(files: &[(&str, &str)]) -> (Folder, config::Mail) {
    let folder = Folder::new();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let mut settings = settings(25);
    settings.templates_dir = Some(folder.path().to_owned());
    (folder, settings)
}

#[test]
fn an_operator_may_replace_a_single_file() {
    let (_folder, settings) = replaced(&[("invitation/subject.txt", "Join {{ account_name }}")]);
    assert_eq!(Composer::check(&settings), []);
    let composer = Composer::new(&settings).unwrap();
    let to = Recipient { name: None, address: "ann@firm.example" };
    let mail = composer.compose(&invitation("Doe", "Jane", "Hello"), to, "1@muster.example", date()).unwrap();
    assert_eq!(parse(&mail).subject(), Some("Join Doe"));
    assert!(parse(&mail).body_text(0).unwrap().contains("Jane wrote:"));
}

#[test]
fn every_fault_of_a_replaced_file_is_named_with_its_line() {
    let cases = [
        ("invitation/subject.txt", "Join\n{{ acount_name }}", Some(2), "undefined"),
        ("invitation/body.txt", "{% if %}", Some(1), "syntax error"),
        (
            "password-reset/body.mjml",
            "<mjml>\n<mj-body>\n<mj-nothing />\n</mj-body></mjml>",
            Some(3),
            "does not know <mj-nothing>",
        ),
        ("password-reset/body.mjml", "<mjml>\n<mj-body></mj-text></mj-body></mjml>", Some(2), "MJML"),
        ("password-reset/body.mjml", "<mjml><mj-body>\n", None, "does not end"),
        (
            "layout.mjml",
            "<mjml>\n<mj-head>\n<mj-breakpoint nonsense=\"1\" /></mj-head><mj-body></mj-body></mjml>",
            Some(3),
            "unexpected attribute",
        ),
        ("invitation/betreff.txt", "Hallo", None, "replaces no template"),
    ];
    for (name, content, line, message) in cases {
        let (folder, settings) = replaced(&[(name, content)]);
        let problems = Composer::check(&settings);
        let found = problems.iter().find(|problem| problem.file == folder.path().join(name).display().to_string());
        let found = found.unwrap_or_else(|| panic!("{name}: {problems:?}"));
        assert_eq!(found.line, line, "{found}");
        assert!(found.message.contains(message), "{found}");
        assert!(Composer::new(&settings).err().unwrap().to_string().contains(name));
    }
}

#[test]
fn a_missing_folder_and_a_bad_sender_are_faults() {
    let mut settings = settings(25);
    settings.templates_dir = Some("/nonexistent/templates".into());
    settings.from = "nobody".to_owned();
    let problems: Vec<String> = Composer::check(&settings).iter().map(ToString::to_string).collect();
    assert!(
        problems.iter().any(|problem| problem.starts_with("/nonexistent/templates: cannot be read")),
        "{problems:?}"
    );
    assert!(problems.iter().any(|problem| problem.starts_with("mail.from: ")), "{problems:?}");
}

/// What somebody might type to break out of a name.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("\r\nBcc: eve@evil.example\r\n".to_owned()),
        Just("\r\n\r\n--=_muster_alternative\r\nContent-Type: text/html\r\n\r\n".to_owned()),
        Just("\r\n.\r\nMAIL FROM:<eve@evil.example>\r\n".to_owned()),
        Just("<script src=\"https://evil.example/x.js\"></script>".to_owned()),
        Just("</mj-text><mj-image src='//evil.example/i.png' /><mj-raw>".to_owned()),
        Just("\" onclick=\"x\" '".to_owned()),
        Just("{{ url }}{% include 'layout.mjml' %}{# ".to_owned()),
        Just("<!-- --> <![CDATA[ ]]> <!--[if mso]>".to_owned()),
        Just("&lt;b&gt; &amp; &#x0a; &".to_owned()),
        Just("\u{202e}\u{200f}\u{2066}\0\u{8}\u{2028}".to_owned()),
        Just("=?utf-8?q?boss?= =?utf-8?b?".to_owned()),
        Just("\\\" \\, <eve@evil.example>, (x); :".to_owned()),
        Just("x".repeat(5000)),
        Just("ж ".repeat(500)),
        any::<String>(),
        "[ -~]{0,40}",
    ];
    proptest::collection::vec(pieces, 0..4).prop_map(|pieces| pieces.concat())
}

/// What of `values` cannot be in a link of the mail, so that [`addresses`] finds only links.
fn unlinked(value: &str) -> String {
    value.replace("//", "/ /")
}

/// The invitation of the same shape with values that contain no markup.
fn harmless(account: &str, inviter: &str, message: &str) -> Mail {
    let word = |text: &str| if text.is_empty() { "" } else { "word" };
    invitation(word(account), word(inviter), &clean::lines(message).iter().map(|_| "word\n").collect::<String>())
}

/// Characters of the HTML that make tags and attributes.
fn markup(mail: &Parsed<'_>) -> [usize; 2] {
    let html = mail.body_html(0).unwrap();
    ['<', '"'].map(|c| html.matches(c).count())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_breaks_out(account in hostile(), inviter in hostile(), message in hostile(), name in hostile()) {
        let mail = compose(&invitation(&account, &inviter, &message), Some(&name));
        let parsed = parse(&mail);
        let (account, inviter) = (clean::line(&account), clean::line(&inviter));
        let subject = match inviter.as_str() {
            "" => format!("You are invited to {account}"),
            _ => format!("{inviter} invites you to {account}"),
        };
        prop_assert_eq!(parsed.subject().unwrap_or_default(), clean::header(&subject));
        let name = Some(clean::header(&name)).filter(|name| !name.is_empty());
        prop_assert_eq!(parsed.to().unwrap().first().unwrap().name().map(str::to_owned), name);
        let plain = compose(&harmless(&account, &inviter, &message), None);
        prop_assert_eq!(markup(&parsed), markup(&parse(&plain)));
    }

    #[test]
    fn nothing_but_our_links_is_loaded_or_linked(account in hostile(), inviter in hostile(), message in hostile()) {
        let mail = compose(&invitation(&unlinked(&account), &unlinked(&inviter), &unlinked(&message)), None);
        assert_intact(&mail, &[URL]);
    }
}
