//! Codes of top-level errors, and the one step that completes every error before it leaves.

use async_graphql::{Error, ErrorExtensionValues, Response, ServerError, Value};
use axum::http::StatusCode;
use domain::infra::db::is_away;
use domain::infra::metrics::{self, Cause};

/// Errors a response shows at most; one document can provoke thousands.
const MAX_ERRORS: usize = 10;

/// Bytes of a message at most; some messages repeat the client's input.
const MAX_MESSAGE_BYTES: usize = 500;

/// What a client reads instead of anything that happened inside.
const INTERNAL_MESSAGE: &str = "Something went wrong on our side. Please quote the request id when you report it.";

/// What a client reads while the database does not answer.
pub const DATABASE_AWAY: &str = "The database is away. Try again in a moment.";

/// `extensions.code` of a top-level error. What a person can mend is a `UserError` of the payload instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// No valid credentials.
    Unauthenticated,
    /// Valid credentials that do not suffice, or a cross-site request.
    Forbidden,
    /// Parameters, variables or arguments of a wrong form.
    BadUserInput,
    /// The document is not GraphQL.
    GraphqlParseFailed,
    /// The document does not fit the schema.
    GraphqlValidationFailed,
    /// The document or its variables exceed a limit, named in `limit`, `maximum` and `requested`.
    CostLimitExceeded,
    /// Events after the cursor are no longer kept; `oldestCursor` is where reading can begin again.
    CursorExpired,
    /// Too many requests; `Retry-After` says when to come again.
    RateLimited,
    /// The request took longer than a request may.
    Timeout,
    /// A part of the installation is away; the same request may succeed later.
    ServiceUnavailable,
    /// Anything else, with a fixed text.
    InternalServerError,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 11] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::BadUserInput,
        Self::GraphqlParseFailed,
        Self::GraphqlValidationFailed,
        Self::CostLimitExceeded,
        Self::CursorExpired,
        Self::RateLimited,
        Self::Timeout,
        Self::ServiceUnavailable,
        Self::InternalServerError,
    ];

    /// The code as clients read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::GraphqlParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::GraphqlValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::CostLimitExceeded => "COST_LIMIT_EXCEEDED",
            Self::CursorExpired => "CURSOR_EXPIRED",
            Self::RateLimited => "RATE_LIMITED",
            Self::Timeout => "TIMEOUT",
            Self::ServiceUnavailable => "SERVICE_UNAVAILABLE",
            Self::InternalServerError => "INTERNAL_SERVER_ERROR",
        }
    }

    /// The code that clients read as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// Status of a response that consists of this error alone.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::BadUserInput | Self::GraphqlParseFailed | Self::GraphqlValidationFailed | Self::CostLimitExceeded => {
                StatusCode::BAD_REQUEST
            }
            Self::CursorExpired => StatusCode::GONE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// An error for a resolver to return.
    pub fn error(self, message: impl Into<String>) -> Error {
        let mut error = Error::new(message);
        self.mark(error.extensions.get_or_insert_default());
        error
    }

    /// An error of a request as a whole, without a path.
    pub fn request_error(self, message: impl Into<String>) -> ServerError {
        let mut error = ServerError::new(message, None);
        self.mark(error.extensions.get_or_insert_default());
        error
    }

    fn mark(self, extensions: &mut ErrorExtensionValues) {
        extensions.set("code", self.as_str());
    }
}

/// The top-level error of whatever a rule failed with, other than by refusing. What happened inside is logged here, once, and
/// stays inside.
pub fn top_level(error: domain::error::Error) -> Error {
    use domain::error::Error as Failure;
    match error {
        Failure::Unauthenticated => {
            ErrorCode::Unauthenticated.error("Sign in first: the session is missing or has ended.")
        }
        Failure::Busy | Failure::Stale => {
            metrics::refused(Cause::Contention);
            ErrorCode::ServiceUnavailable.error("Too much is going on at once. Try again in a moment.")
        }
        Failure::Refused(list) => refusal(&list),
        Failure::Database(error) => of_database(&error),
        Failure::ObjectStore(error) => {
            tracing::error!(%error, "the object store failed");
            ErrorCode::ServiceUnavailable.error("Files cannot be read or written right now. Try again in a moment.")
        }
    }
}

/// [`of_database`], for a statement that a resolver makes outside of a rule.
#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
pub fn failed(error: sqlx::Error) -> Error {
    of_database(&error)
}

/// The top-level error of a failed statement.
pub fn of_database(error: &sqlx::Error) -> Error {
    if is_away(error) {
        let full = matches!(error, sqlx::Error::PoolTimedOut);
        metrics::refused(if full { Cause::PoolTimeout } else { Cause::DatabaseAway });
        tracing::warn!(%error, "the database is away");
        return ErrorCode::ServiceUnavailable.error("The database is away. Try again in a moment.");
    }
    if let Some(LOCK_TIMEOUT | DEADLOCK) = sqlstate(error).as_deref() {
        metrics::refused(Cause::Contention);
        tracing::warn!(%error, "a transaction lost against others");
        return ErrorCode::ServiceUnavailable.error("Too much is going on at once. Try again in a moment.");
    }
    if sqlstate(error).as_deref() == Some(STATEMENT_CANCELLED) {
        metrics::refused(Cause::Timeout);
        tracing::warn!("a statement took too long");
        return ErrorCode::Timeout.error("The request took too long.");
    }
    if let Some(NO_CHARACTER | NO_JSON_CHARACTER) = sqlstate(error).as_deref() {
        return ErrorCode::BadUserInput.error("A text has the character U+0000, which is none. Leave it out.");
    }
    tracing::error!(%error, "the database refused a statement");
    ErrorCode::InternalServerError.error(INTERNAL_MESSAGE)
}

/// Code and text of a failure before anything was executed.
pub fn of_failure(error: domain::error::Error) -> (ErrorCode, &'static str) {
    let error = top_level(error);
    let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
    let away = matches!(code, Some(Value::String(code)) if code == ErrorCode::ServiceUnavailable.as_str());
    if away {
        (ErrorCode::ServiceUnavailable, DATABASE_AWAY)
    } else {
        (ErrorCode::InternalServerError, INTERNAL_MESSAGE)
    }
}

/// A refusal where there are no `userErrors`: in queries.
fn refusal(list: &[domain::error::Refused]) -> Error {
    use domain::error::Code;
    let Some(first) = list.first() else { return ErrorCode::InternalServerError.error(INTERNAL_MESSAGE) };
    let code = match first.code {
        Code::NotPermitted => ErrorCode::Forbidden,
        Code::RateLimited => {
            metrics::refused(Cause::RateLimit);
            ErrorCode::RateLimited
        }
        _ => ErrorCode::BadUserInput,
    };
    let field = if first.field.is_empty() { String::new() } else { format!(" ({})", first.field.join(".")) };
    code.error(format!("{}{field}", first.message()))
}

const STATEMENT_CANCELLED: &str = "57014";
/// What the database calls U+0000 in a text, and in JSON: only what somebody has sent can hold one.
const NO_CHARACTER: &str = "22021";
const NO_JSON_CHARACTER: &str = "22P05";
const LOCK_TIMEOUT: &str = "55P03";
const DEADLOCK: &str = "40P01";

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned)
}

/// Whether a response consists of request errors: nothing was executed, so there is no `data` to show.
///
/// The library drops the key of a root field that failed, so `data` may be null after an execution, too; but then
/// each error has the path of its field.
pub fn is_request_error(response: &Response) -> bool {
    response.data == Value::Null && !response.errors.is_empty() && response.errors.iter().all(|e| e.path.is_empty())
}

/// Whether a part of the installation was away, or had too much to do, for any part of a response.
pub(super) fn is_unavailable(response: &Response) -> bool {
    response.errors.iter().any(|error| code_of(error) == Some(ErrorCode::ServiceUnavailable))
}

/// Whether no root field of a response has any data.
pub(super) fn is_empty(response: &Response) -> bool {
    match &response.data {
        Value::Object(fields) => fields.values().all(|field| *field == Value::Null),
        data => *data == Value::Null,
    }
}

/// Gives every error of a response its `extensions { code requestId }`, hides what happened inside (and logs it, once,
/// under the request's id), and drops what exceeds the number of errors a response may show. All transports call it.
pub fn complete(response: &mut Response, request_id: &str) {
    let default =
        if is_request_error(response) { ErrorCode::GraphqlValidationFailed } else { ErrorCode::InternalServerError };
    response.errors.truncate(MAX_ERRORS);
    for error in &mut response.errors {
        let code = code_of(error).unwrap_or(default);
        if code == ErrorCode::InternalServerError {
            hide(error, request_id);
        }
        truncate(&mut error.message);
        let extensions = error.extensions.get_or_insert_default();
        code.mark(extensions);
        extensions.set("requestId", request_id);
    }
}

/// What the library says of a document over the limit on rows, see `cost`.
const TOO_COMPLEX: &str = "Query is too complex.";

/// The code an error brought along, or that its text shows. `None`: the stage it failed in decides.
fn code_of(error: &ServerError) -> Option<ErrorCode> {
    match error.extensions.as_ref().and_then(|values| values.get("code")) {
        Some(Value::String(code)) => Some(ErrorCode::parse(code).unwrap_or(ErrorCode::InternalServerError)),
        Some(_) => Some(ErrorCode::InternalServerError),
        None if error.message == TOO_COMPLEX => Some(ErrorCode::CostLimitExceeded),
        None => is_input_fault(&error.message).then_some(ErrorCode::BadUserInput),
    }
}

/// `OK`, or the code of the first error of a completed response.
pub(super) fn first_code(response: &Response) -> &'static str {
    response.errors.first().map_or("OK", |error| code_of(error).map_or("UNKNOWN", ErrorCode::as_str))
}

/// Whether the library refused a value: it marks these errors by nothing but their first words, those of
/// `InputValueError` and of the validation rule for arguments.
fn is_input_fault(message: &str) -> bool {
    const FIRST_WORDS: [&str; 4] = [
        "Invalid value for argument ",
        "Failed to parse \"",
        "Expected input type \"",
        "Invalid default value for argument ",
    ];
    FIRST_WORDS.iter().any(|words| message.starts_with(words))
}

fn hide(error: &mut ServerError, request_id: &str) {
    let path: Vec<String> = error
        .path
        .iter()
        .map(|segment| match segment {
            async_graphql::PathSegment::Field(name) => name.clone(),
            async_graphql::PathSegment::Index(index) => index.to_string(),
        })
        .collect();
    tracing::error!(request.id = request_id, graphql.path = path.join("."), error = %error.message, "a resolver failed");
    INTERNAL_MESSAGE.clone_into(&mut error.message);
    error.extensions = None;
    error.source = None;
}

fn truncate(message: &mut String) {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        message.push('…');
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::PathSegment;

    use super::*;

    fn code(error: &ServerError) -> String {
        match error.extensions.as_ref().and_then(|values| values.get("code")) {
            Some(Value::String(code)) => code.clone(),
            other => panic!("no code: {other:?}"),
        }
    }

    fn at_field(mut error: ServerError) -> ServerError {
        error.path = vec![PathSegment::Field("viewer".into())];
        error
    }

    #[test]
    fn names_are_read_back() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(code));
        }
        assert_eq!(ErrorCode::parse("OTHER"), None);
    }

    #[test]
    fn a_failed_resolver_shows_nothing_of_its_inside() {
        let mut error = at_field(ServerError::new("relation \"members\" does not exist", None));
        error.extensions.get_or_insert_default().set("table", "members");
        let mut response = Response::from_errors(vec![error]);
        complete(&mut response, "req-1");
        let text = serde_json::to_string(&response).unwrap();
        assert!(!text.contains("members"), "{text}");
        assert!(text.contains("INTERNAL_SERVER_ERROR") && text.contains("req-1"), "{text}");
    }

    #[test]
    fn an_unknown_code_is_an_internal_error() {
        let mut error = at_field(ServerError::new("secret", None));
        error.extensions.get_or_insert_default().set("code", "E23505");
        let mut response = Response::from_errors(vec![error]);
        complete(&mut response, "req-1");
        assert_eq!(code(&response.errors[0]), "INTERNAL_SERVER_ERROR");
        assert_eq!(response.errors[0].message, INTERNAL_MESSAGE);
    }

    #[test]
    fn a_known_code_keeps_its_text_and_details() {
        let error: Error = ErrorCode::Forbidden.error("You need members.read.");
        let mut error = at_field(error.into_server_error(async_graphql::Pos::default()));
        error.extensions.get_or_insert_default().set("permission", "members.read");
        let mut response = Response::from_errors(vec![error]);
        complete(&mut response, "req-1");
        let text = serde_json::to_string(&response.errors[0]).unwrap();
        assert!(text.contains("You need members.read.") && text.contains("\"permission\""), "{text}");
    }

    #[test]
    fn request_errors_are_of_validation_or_of_input() {
        let faults = ["Unknown field \"x\"", "Invalid value for argument \"a\", expected type \"Int\""];
        let mut response = Response::from_errors(faults.map(|text| ServerError::new(text, None)).to_vec());
        assert!(is_request_error(&response));
        complete(&mut response, "req-1");
        assert_eq!(code(&response.errors[0]), "GRAPHQL_VALIDATION_FAILED");
        assert_eq!(code(&response.errors[1]), "BAD_USER_INPUT");
    }

    #[test]
    fn an_error_without_path_beside_data_is_not_taken_for_a_request_error() {
        let mut response =
            Response::new(Value::Object([(async_graphql::Name::new("viewer"), Value::Null)].into_iter().collect()));
        response.errors.push(ServerError::new("connection reset", None));
        complete(&mut response, "req-1");
        assert_eq!(code(&response.errors[0]), "INTERNAL_SERVER_ERROR");
    }

    #[test]
    fn errors_are_few_and_short() {
        let mut response = Response::from_errors(vec![ServerError::new("é".repeat(2_000), None); 100]);
        complete(&mut response, "req-1");
        assert_eq!(response.errors.len(), MAX_ERRORS);
        assert!(response.errors[0].message.len() < MAX_MESSAGE_BYTES + 10);
    }
}
