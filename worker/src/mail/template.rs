//! The texts of mails: `minijinja` templates, the HTML ones in MJML. An operator may replace any single file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, HtmlEscape, Output, State, UndefinedBehavior};
use mrml::prelude::parser::{Error as ParseError, ParserOptions, Span};
use mrml::prelude::render::RenderOptions;

/// The built-in files, by the name under which an operator replaces them.
const BUILT_IN: [(&str, &str); 40] = [
    ("layout.mjml", include_str!("templates/layout.mjml")),
    ("invitation/subject.txt", include_str!("templates/invitation/subject.txt")),
    ("invitation/body.txt", include_str!("templates/invitation/body.txt")),
    ("invitation/body.mjml", include_str!("templates/invitation/body.mjml")),
    ("sign-up-confirm/subject.txt", include_str!("templates/sign-up-confirm/subject.txt")),
    ("sign-up-confirm/body.txt", include_str!("templates/sign-up-confirm/body.txt")),
    ("sign-up-confirm/body.mjml", include_str!("templates/sign-up-confirm/body.mjml")),
    ("sign-up-existing/subject.txt", include_str!("templates/sign-up-existing/subject.txt")),
    ("sign-up-existing/body.txt", include_str!("templates/sign-up-existing/body.txt")),
    ("sign-up-existing/body.mjml", include_str!("templates/sign-up-existing/body.mjml")),
    ("password-reset/subject.txt", include_str!("templates/password-reset/subject.txt")),
    ("password-reset/body.txt", include_str!("templates/password-reset/body.txt")),
    ("password-reset/body.mjml", include_str!("templates/password-reset/body.mjml")),
    ("login-email-confirm/subject.txt", include_str!("templates/login-email-confirm/subject.txt")),
    ("login-email-confirm/body.txt", include_str!("templates/login-email-confirm/body.txt")),
    ("login-email-confirm/body.mjml", include_str!("templates/login-email-confirm/body.mjml")),
    ("login-email-approve/subject.txt", include_str!("templates/login-email-approve/subject.txt")),
    ("login-email-approve/body.txt", include_str!("templates/login-email-approve/body.txt")),
    ("login-email-approve/body.mjml", include_str!("templates/login-email-approve/body.mjml")),
    ("login-email-requested/subject.txt", include_str!("templates/login-email-requested/subject.txt")),
    ("login-email-requested/body.txt", include_str!("templates/login-email-requested/body.txt")),
    ("login-email-requested/body.mjml", include_str!("templates/login-email-requested/body.mjml")),
    ("login-email-changed/subject.txt", include_str!("templates/login-email-changed/subject.txt")),
    ("login-email-changed/body.txt", include_str!("templates/login-email-changed/body.txt")),
    ("login-email-changed/body.mjml", include_str!("templates/login-email-changed/body.mjml")),
    ("password-changed/subject.txt", include_str!("templates/password-changed/subject.txt")),
    ("password-changed/body.txt", include_str!("templates/password-changed/body.txt")),
    ("password-changed/body.mjml", include_str!("templates/password-changed/body.mjml")),
    ("succession/subject.txt", include_str!("templates/succession/subject.txt")),
    ("succession/body.txt", include_str!("templates/succession/body.txt")),
    ("succession/body.mjml", include_str!("templates/succession/body.mjml")),
    ("import-summary/subject.txt", include_str!("templates/import-summary/subject.txt")),
    ("import-summary/body.txt", include_str!("templates/import-summary/body.txt")),
    ("import-summary/body.mjml", include_str!("templates/import-summary/body.mjml")),
    ("validity-end/subject.txt", include_str!("templates/validity-end/subject.txt")),
    ("validity-end/body.txt", include_str!("templates/validity-end/body.txt")),
    ("validity-end/body.mjml", include_str!("templates/validity-end/body.mjml")),
    ("billing/subject.txt", include_str!("templates/billing/subject.txt")),
    ("billing/body.txt", include_str!("templates/billing/body.txt")),
    ("billing/body.mjml", include_str!("templates/billing/body.mjml")),
];

/// Something in a template that keeps mails from being sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateProblem {
    /// The operator's file, or the name of a built-in one.
    pub file: String,
    /// Line of the file, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for TemplateProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The mail templates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mail templates: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct TemplateError(pub Vec<TemplateProblem>);

/// Subject and both bodies of a mail.
pub(super) struct Rendered {
    /// One line or more; not yet fit for a header.
    pub(super) subject: String,
    /// The text part.
    pub(super) text: String,
    /// The HTML part.
    pub(super) html: String,
}

/// The parsed templates.
pub(super) struct Templates {
    environment: Environment<'static>,
    /// Where an operator's file was read from, by template name.
    replaced: HashMap<&'static str, PathBuf>,
}

impl Templates {
    /// Parses the built-in files and those of `folder`, with every problem of reading and syntax.
    pub(super) fn load(folder: Option<&Path>) -> (Self, Vec<TemplateProblem>) {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| if is_mjml(name) { AutoEscape::Html } else { AutoEscape::None });
        environment.set_formatter(write_value);
        let mut templates = Self { environment, replaced: HashMap::new() };
        let mut problems = folder.map(unknown_files).unwrap_or_default();
        for (name, built_in) in BUILT_IN {
            match folder.map_or(Ok(None), |folder| replacement(&folder.join(name))) {
                Ok(None) => problems.extend(templates.add(name, Cow::Borrowed(built_in))),
                Ok(Some((path, source))) => {
                    templates.replaced.insert(name, path);
                    problems.extend(templates.add(name, Cow::Owned(source)));
                }
                Err(problem) => problems.push(problem),
            }
        }
        (templates, problems)
    }

    fn add(&mut self, name: &'static str, source: Cow<'static, str>) -> Option<TemplateProblem> {
        let added = self.environment.add_template_owned(name, source);
        added.err().map(|fault| self.problem(name, &fault))
    }

    /// Renders the three files of a mail. A problem never contains a value.
    pub(super) fn render(&self, mail: &str, values: &Value) -> Result<Rendered, TemplateProblem> {
        let subject = self.fill(&format!("{mail}/subject.txt"), values)?.trim().to_owned();
        let text = self.fill(&format!("{mail}/body.txt"), values)?;
        let name = format!("{mail}/body.mjml");
        let values = minijinja::context! { subject => super::clean::line(&subject), ..values.clone() };
        let html = self.html(&name, &self.fill(&name, &values)?)?;
        Ok(Rendered { subject, text, html })
    }

    fn fill(&self, name: &str, values: &Value) -> Result<String, TemplateProblem> {
        let template = self.environment.get_template(name).map_err(|fault| self.problem(name, &fault))?;
        template.render(values.clone()).map_err(|fault| self.problem(name, &fault))
    }

    /// HTML that loads nothing from elsewhere: mrml's web fonts are left out.
    fn html(&self, name: &str, mjml: &str) -> Result<String, TemplateProblem> {
        if !mjml.trim_end().ends_with("</mjml>") {
            return Err(self.mjml_problem(name, mjml, None, "MJML: the document does not end with </mjml>".to_owned()));
        }
        let parsed = mrml::parse_with_options(mjml, &ParserOptions::default())
            .map_err(|fault| self.mjml_problem(name, mjml, span(&fault), explain(&fault)))?;
        if let Some(warning) = parsed.warnings.first() {
            return Err(self.mjml_problem(name, mjml, Some(warning.span.start), warning.kind.to_string()));
        }
        let options = RenderOptions { disable_comments: true, fonts: HashMap::new(), ..RenderOptions::default() };
        let html =
            parsed.element.render(&options).map_err(|fault| self.mjml_problem(name, mjml, None, fault.to_string()))?;
        match left_over(&html) {
            None => Ok(html),
            Some(element) => {
                Err(self.mjml_problem(name, mjml, mjml.find(element), format!("MJML does not know {element}>")))
            }
        }
    }

    fn problem(&self, name: &str, fault: &minijinja::Error) -> TemplateProblem {
        let name = fault.name().unwrap_or(name);
        let mut message = fault.kind().to_string();
        if let Some(detail) = fault.detail() {
            let _ = write!(message, ": {detail}");
        }
        TemplateProblem { file: self.file(name), line: fault.line(), message }
    }

    /// MJML is parsed after the values are in; the line is looked up in the files it may come from.
    fn mjml_problem(&self, name: &str, mjml: &str, at: Option<usize>, message: String) -> TemplateProblem {
        let fault = at.and_then(|at| line_around(mjml, at));
        let found = fault.and_then(|fault| [name, "layout.mjml"].into_iter().find_map(|name| self.find(name, fault)));
        match found {
            Some((name, line)) => TemplateProblem { file: self.file(name), line: Some(line), message },
            None => TemplateProblem { file: self.file(name), line: None, message },
        }
    }

    /// The line of a template that reads `wanted`.
    fn find<'n>(&self, name: &'n str, wanted: &str) -> Option<(&'n str, usize)> {
        let template = self.environment.get_template(name).ok()?;
        let line = template.source().lines().position(|line| line.trim() == wanted)?;
        Some((name, line + 1))
    }

    fn file(&self, name: &str) -> String {
        self.replaced.get(name).map_or_else(|| format!("built-in {name}"), |path| path.display().to_string())
    }
}

fn is_mjml(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "mjml")
}

/// An operator's file, if there is one.
fn replacement(path: &Path) -> Result<Option<(PathBuf, String)>, TemplateProblem> {
    match std::fs::read_to_string(path) {
        Ok(source) => Ok(Some((path.to_owned(), source))),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(unreadable(path, &fault)),
    }
}

/// Files that would replace nothing, because no built-in one has their name.
fn unknown_files(folder: &Path) -> Vec<TemplateProblem> {
    let mut problems = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        let entries = match std::fs::read_dir(&current) {
            Ok(entries) => entries,
            Err(fault) => {
                problems.push(unreadable(&current, &fault));
                continue;
            }
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if is_template(&path) && !BUILT_IN.iter().any(|(name, _)| folder.join(name) == path) {
                let message = "replaces no template: check the name against the built-in ones".to_owned();
                problems.push(TemplateProblem { file: path.display().to_string(), line: None, message });
            }
        }
    }
    problems.sort_by(|a, b| a.file.cmp(&b.file));
    problems
}

fn is_template(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "mjml" || extension == "txt")
}

fn unreadable(path: &Path, fault: &std::io::Error) -> TemplateProblem {
    TemplateProblem { file: path.display().to_string(), line: None, message: format!("cannot be read: {fault}") }
}

/// Writes a value, escaped for HTML text and attributes in MJML files. Slashes stay, so that links stay readable.
fn write_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    let text = value.to_string();
    if matches!(state.auto_escape(), AutoEscape::None) || value.is_safe() {
        out.write_str(&text)?;
        return Ok(());
    }
    out.write_str(&HtmlEscape(&text).to_string().replace("&#x2f;", "/"))?;
    Ok(())
}

/// The start of a tag that mrml passed through because it does not know it, like `<mj-txt`.
fn left_over(html: &str) -> Option<&str> {
    let rest = &html[html.find("<mj-")?..];
    Some(&rest[..rest.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).unwrap_or(rest.len())])
}

fn line_around(text: &str, at: usize) -> Option<&str> {
    let before = text.get(..at)?.rfind('\n').map_or(0, |i| i + 1);
    text[before..].lines().next().map(str::trim)
}

fn span(fault: &ParseError) -> Option<usize> {
    match fault {
        ParseError::UnexpectedElement { position: Span { start, .. }, .. }
        | ParseError::UnexpectedToken { position: Span { start, .. }, .. }
        | ParseError::MissingAttribute { position: Span { start, .. }, .. }
        | ParseError::InvalidAttribute { position: Span { start, .. }, .. }
        | ParseError::InvalidFormat { position: Span { start, .. }, .. }
        | ParseError::IncludeLoaderError { position: Span { start, .. }, .. } => Some(*start),
        _ => None,
    }
}

/// The fault without positions of the rendered document, which mean nothing to who wrote the template.
fn explain(fault: &ParseError) -> String {
    match fault {
        ParseError::UnexpectedElement { .. } => "an element that MJML does not allow here".to_owned(),
        ParseError::UnexpectedToken { .. } => "MJML: something unexpected, perhaps a tag that is not closed".to_owned(),
        ParseError::MissingAttribute { name, .. } => format!("MJML: the attribute {name:?} is missing"),
        ParseError::InvalidAttribute { .. } => "MJML: an attribute has a wrong value".to_owned(),
        ParseError::InvalidFormat { .. } => "MJML: a wrong format".to_owned(),
        ParseError::EndOfStream { .. } => "MJML: the document ends before its tags are closed".to_owned(),
        ParseError::NoRootNode => "MJML: there is no <mjml> element".to_owned(),
        ParseError::IncludeLoaderError { .. } => "MJML: mj-include is not available".to_owned(),
        ParseError::SizeLimit { .. } | ParseError::ParserError { .. } => format!("MJML: {fault}"),
    }
}
