//! The forms a setting can have, and how a text becomes the value of a field.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use super::{LogFormat, MailTransport, SmtpTls};
use crate::billing::TaxRate;
use crate::billing::calendar::Interval;

/// The form a setting is wanted in.
pub enum Form {
    /// A whole number between two bounds, both allowed.
    Number(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A text, described in words, and the test of it.
    Text(&'static str, fn(&str) -> bool),
    /// A list of such texts; separated by commas in the environment.
    List(&'static str, fn(&str) -> bool),
}

impl Form {
    /// Whether a text is in this form.
    pub(super) fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Number(least, most) => text.parse::<u64>().is_ok_and(|number| (*least..=*most).contains(&number)),
            Self::Flag => matches!(text, "true" | "false"),
            Self::Word(words) => words.contains(&text),
            Self::Text(_, is_valid) => is_valid(text),
            Self::List(_, is_valid) => items(text).all(is_valid),
        }
    }

    /// The form in words, to follow "wanted:".
    pub fn describe(&self) -> String {
        match self {
            Self::Number(least, most) => format!("a whole number from {least} to {most}"),
            Self::Flag => "true or false".to_owned(),
            Self::Word(words) => words.join(" or "),
            Self::Text(form, _) => (*form).to_owned(),
            Self::List(form, _) => format!("a list of {form}"),
        }
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// A field of the configuration that is read from, and shown as, a text.
pub(super) trait Value {
    /// Takes over a text that is in the setting's form; `None` if it is not a value of this type.
    fn set(&mut self, text: &str) -> Option<()>;
    /// The value as a text, `None` if it is not set. Secrets in the clear: the caller masks them.
    fn text(&self) -> Option<String>;
}

macro_rules! parsed_value {
    ($($kind:ty),+) => {$(
        impl Value for $kind {
            fn set(&mut self, text: &str) -> Option<()> {
                *self = text.parse().ok()?;
                Some(())
            }

            fn text(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )+};
}

parsed_value!(u16, u32, u64, i32, usize, bool, String, SocketAddr, TaxRate);

impl Value for PathBuf {
    fn set(&mut self, text: &str) -> Option<()> {
        *self = Self::from(text);
        Some(())
    }

    fn text(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

impl Value for SecretString {
    fn set(&mut self, text: &str) -> Option<()> {
        *self = Self::from(text);
        Some(())
    }

    fn text(&self) -> Option<String> {
        let text = self.expose_secret();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

macro_rules! optional_value {
    ($($kind:ty),+) => {$(
        impl Value for Option<$kind> {
            fn set(&mut self, text: &str) -> Option<()> {
                *self = Some(<$kind>::from(text));
                Some(())
            }

            fn text(&self) -> Option<String> {
                self.as_ref().and_then(Value::text)
            }
        }
    )+};
}

optional_value!(String, PathBuf, SecretString);

impl Value for Option<SocketAddr> {
    fn set(&mut self, text: &str) -> Option<()> {
        *self = Some(text.parse().ok()?);
        Some(())
    }

    fn text(&self) -> Option<String> {
        self.map(|address| address.to_string())
    }
}

impl Value for Vec<String> {
    fn set(&mut self, text: &str) -> Option<()> {
        *self = items(text).map(str::to_owned).collect();
        Some(())
    }

    fn text(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.join(","))
    }
}

impl Value for Vec<IpAddr> {
    fn set(&mut self, text: &str) -> Option<()> {
        *self = items(text).map(|item| item.parse().ok()).collect::<Option<_>>()?;
        Some(())
    }

    fn text(&self) -> Option<String> {
        let addresses: Vec<String> = self.iter().map(ToString::to_string).collect();
        addresses.text()
    }
}

macro_rules! word_value {
    ($kind:ty: $($variant:ident = $word:literal),+) => {
        impl Value for $kind {
            fn set(&mut self, text: &str) -> Option<()> {
                *self = match text {
                    $($word => Self::$variant,)+
                    _ => return None,
                };
                Some(())
            }

            fn text(&self) -> Option<String> {
                Some(match self { $(Self::$variant => $word),+ }.to_owned())
            }
        }
    };
}

impl Value for Vec<i32> {
    fn set(&mut self, text: &str) -> Option<()> {
        *self = items(text).map(|item| item.parse().ok()).collect::<Option<_>>()?;
        Some(())
    }

    fn text(&self) -> Option<String> {
        let numbers: Vec<String> = self.iter().map(ToString::to_string).collect();
        numbers.text()
    }
}

word_value!(Interval: Month = "month", Year = "year");
word_value!(MailTransport: Smtp = "smtp", Outbox = "outbox");
word_value!(SmtpTls: None = "none", StartTls = "starttls", Implicit = "implicit");
word_value!(LogFormat: Text = "text", Json = "json");
