//! Media types: what a request is in, and what its answer may be in.

use axum::http::{HeaderMap, HeaderValue, header};

/// A media type of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`: faults of the document answer 200, as clients of old expect.
    Json,
    /// `application/graphql-response+json`: faults of the document answer 400, without `data`.
    GraphqlResponse,
}

impl Media {
    const ALL: [Self; 2] = [Self::Json, Self::GraphqlResponse];

    fn essence(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::GraphqlResponse => "application/graphql-response+json",
        }
    }

    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json; charset=utf-8",
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
        })
    }

    /// The type the client likes best: the highest quality, then the one it names first; `application/json` where it has
    /// no preference. `None` if it accepts neither.
    pub(super) fn negotiate(headers: &HeaderMap) -> Option<Self> {
        let ranges = ranges(headers);
        if ranges.is_empty() {
            return Some(Self::Json);
        }
        let mut best: Option<(u16, usize, Self)> = None;
        for media in Self::ALL {
            let Some((quality, position)) = preference(&ranges, media) else {
                continue;
            };
            let better = best.is_none_or(|(most, first, _)| quality > most || (quality == most && position < first));
            if quality > 0 && better {
                best = Some((quality, position, media));
            }
        }
        best.map(|(_, _, media)| media)
    }
}

/// One entry of `Accept`.
struct Range<'a> {
    essence: &'a str,
    /// Thousandths.
    quality: u16,
}

fn ranges(headers: &HeaderMap) -> Vec<Range<'_>> {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(range).collect()
}

fn range(entry: &str) -> Option<Range<'_>> {
    let mut parts = entry.split(';').map(str::trim);
    let essence = parts.next().filter(|essence| !essence.is_empty())?;
    let quality = parts.find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")));
    Some(Range { essence, quality: quality.map_or(1_000, thousandths) })
}

/// A quality value of HTTP (RFC 9110, 12.4.2) in thousandths; 0 for what is none.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "1" => 1_000,
        "0" if digits => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// Quality and position of the most specific range that covers `media`.
fn preference(ranges: &[Range<'_>], media: Media) -> Option<(u16, usize)> {
    [media.essence(), "application/*", "*/*"].into_iter().find_map(|wanted| {
        let position = ranges.iter().position(|range| range.essence.eq_ignore_ascii_case(wanted))?;
        Some((ranges[position].quality, position))
    })
}

/// Whether the body is `application/json` in UTF-8. Everything else, and no type at all, is what a page of another site can
/// send without being asked (forms, `text/plain`), so it is never read.
pub(super) fn is_json_body(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Ok(text) = value.to_str() else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    is_json && parts.all(is_utf8_or_no_charset)
}

fn is_utf8_or_no_charset(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return true;
    };
    let value = value.trim_matches('"');
    !name.eq_ignore_ascii_case("charset") || value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(accept: &'static str) -> Option<Media> {
        Media::negotiate(&[(header::ACCEPT, HeaderValue::from_static(accept))].into_iter().collect())
    }

    fn json_body(content_type: &'static str) -> bool {
        is_json_body(&[(header::CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect())
    }

    #[test]
    fn json_is_the_answer_without_a_preference() {
        assert_eq!(Media::negotiate(&HeaderMap::new()), Some(Media::Json));
        assert_eq!(negotiated("*/*"), Some(Media::Json));
        assert_eq!(negotiated("text/html, application/xhtml+xml, */*;q=0.8"), Some(Media::Json));
    }

    #[test]
    fn the_highest_quality_wins_then_the_first() {
        assert_eq!(
            negotiated("application/graphql-response+json, application/json;q=0.9"),
            Some(Media::GraphqlResponse)
        );
        assert_eq!(
            negotiated("application/json;q=0.9, application/graphql-response+json"),
            Some(Media::GraphqlResponse)
        );
        assert_eq!(negotiated("application/json, application/graphql-response+json"), Some(Media::Json));
        assert_eq!(negotiated("application/graphql-response+json, application/json"), Some(Media::GraphqlResponse));
        assert_eq!(negotiated("application/json;q=0, */*"), Some(Media::GraphqlResponse));
    }

    #[test]
    fn nothing_is_answered_to_those_who_accept_neither() {
        assert_eq!(negotiated("text/html"), None);
        assert_eq!(negotiated("application/json;q=0"), None);
    }

    #[test]
    fn only_json_is_read() {
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
            assert!(json_body(good), "{good}");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
            "application/json; charset=latin1",
            "application/jsonx",
            "application/graphql",
        ] {
            assert!(!json_body(bad), "{bad}");
        }
        assert!(!is_json_body(&HeaderMap::new()));
    }
}
