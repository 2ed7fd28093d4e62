//! Links and times as mails write them.

use domain::infra::secret::Token;
use jiff::SignedDuration;

/// Where a token leads: the page that a customer's own frontend serves, or the hosted one.
pub(super) fn link(own_page: Option<&str>, public_url: &str, page: &str, token: &Token) -> String {
    let token = token.expose();
    match own_page {
        Some(template) => template.replace("{token}", &token),
        None => format!("{public_url}/{page}/{token}"),
    }
}

/// `1 hour`, `24 hours`, `3 days`: rounded to the minute, and down where hours or days are too coarse, so that no mail promises
/// more than there is.
pub(super) fn lifetime(left: SignedDuration) -> String {
    let minutes = (left.as_secs() + 30).max(60) / 60;
    let hours = minutes / 60;
    let (count, unit) = match () {
        () if minutes < 120 && minutes != 60 => (minutes, "minute"),
        () if hours < 72 && (hours % 24 != 0 || hours == 24) => (hours, "hour"),
        () => (hours / 24, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use domain::infra::secret::Purpose;

    use super::*;

    #[test]
    fn lifetimes_read_like_people_say_them() {
        let said = |seconds| lifetime(SignedDuration::from_secs(seconds));
        for (seconds, text) in [
            (86_400, "24 hours"),
            (86_398, "24 hours"),
            (3_600, "1 hour"),
            (3_595, "1 hour"),
            (3_500, "58 minutes"),
            (5_400, "90 minutes"),
            (7_200, "2 hours"),
            (129_600, "36 hours"),
            (172_800, "2 days"),
            (259_200, "3 days"),
            (300_000, "3 days"),
            (2_592_000, "30 days"),
            (1, "1 minute"),
            (-5, "1 minute"),
        ] {
            assert_eq!(said(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn links_lead_to_the_own_page_or_the_hosted_one() {
        let token = Token::random(Purpose::SignUp, None);
        let text = token.expose();
        assert_eq!(link(None, "https://m.example", "sign-up", &token), format!("https://m.example/sign-up/{text}"));
        let own = link(Some("https://app.example/c?t={token}&x=1"), "https://m.example", "sign-up", &token);
        assert_eq!(own, format!("https://app.example/c?t={text}&x=1"));
    }
}
