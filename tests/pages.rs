//! The hosted pages that links in mails lead to.

mod flow;
mod view;

/// Every `attribute="value"` of a page.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    html.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// What every page keeps: one heading, labelled fields, references that lead somewhere, nothing from elsewhere, no script.
#[track_caller]
pub(crate) fn assert_usable(html: &str) {
    assert_eq!(html.matches("<h1>").count(), 1, "{html}");
    assert!(html.contains("<html lang=\"en\">") && html.contains("name=\"viewport\""));
    let ids = values(html, "id");
    for reference in values(html, "for")
        .into_iter()
        .chain(values(html, "aria-describedby").into_iter().flat_map(str::split_whitespace))
    {
        assert!(ids.contains(&reference), "{reference} is missing: {html}");
    }
    for anchor in values(html, "href").into_iter().filter_map(|href| href.strip_prefix('#')) {
        assert!(ids.contains(&anchor), "{anchor} is missing");
    }
    assert_eq!(html.matches("<input").count(), html.matches("<label").count(), "every field has its label");
    assert_eq!(ids.len(), ids.iter().collect::<std::collections::HashSet<_>>().len(), "ids are unique");
    for forbidden in ["<script", "<style", " style=", "onclick", "javascript:", "src=\"http", "<img"] {
        assert!(!html.contains(forbidden), "{forbidden}: {html}");
    }
}
