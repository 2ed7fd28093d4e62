//! The operations of a socket: polled by its task, side by side.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use async_graphql::parser::types::OperationType;
use async_graphql::{Data, Executor, Response, Value};
use axum::extract::ws::Message;
use domain::error::Error;
use domain::infra::metrics;
use futures::FutureExt;
use futures::stream::{self, Stream, StreamExt};
use tracing::Span;

use super::message;
use crate::graphql::error::{self, ErrorCode, of_failure};
use crate::graphql::operation::{Operation, Operations, Outcome};

/// What an operation gives.
pub(super) enum Item {
    /// A result.
    Next(Box<Response>),
    /// Why there is no (further) result. The operation is over.
    Error(Box<Response>),
    /// The session is not valid (any more). The socket is over.
    Forbidden,
}

impl Item {
    /// An item of a response that is complete but for its errors.
    fn of(mut response: Box<Response>, kind: OperationType, request_id: &str) -> Self {
        let source_failed = kind == OperationType::Subscription && has_failed(&response);
        let refused = source_failed || error::is_request_error(&response);
        error::complete(&mut response, request_id);
        if refused { Self::Error(response) } else { Self::Next(response) }
    }

    /// An item of an error without an execution.
    pub(super) fn refused(error: async_graphql::ServerError, request_id: &str) -> Self {
        Self::of(Box::new(Response::from_errors(vec![error])), OperationType::Query, request_id)
    }

    /// As metrics have it.
    fn code(&self) -> &'static str {
        match self {
            Self::Next(response) | Self::Error(response) => error::first_code(response),
            Self::Forbidden => ErrorCode::Unauthenticated.as_str(),
        }
    }

    /// The message of the item; none for the end of the socket.
    pub(super) fn message(&self, id: &str) -> Option<Message> {
        match self {
            Self::Next(response) => Some(message::next(id, response)),
            Self::Error(response) => Some(message::error(id, &response.errors)),
            Self::Forbidden => None,
        }
    }
}

/// Whether a subscription gave an error instead of a result: its resolver failed, or its source did. An error further inside is
/// that of one result.
fn has_failed(response: &Response) -> bool {
    response.data == Value::Null && !response.errors.is_empty() && response.errors.iter().all(|e| e.path.len() <= 1)
}

/// The items of an operation: who asks is looked up first.
pub(super) fn items<E, F>(operations: Operations<E>, operation: Operation, caller: F, request_id: Arc<str>) -> Items
where
    E: Executor,
    F: Future<Output = Result<Data, Error>> + Send + 'static,
{
    let mut counted = Counted::begin(operation.root_field());
    let begin = async move {
        let kind = operation.kind();
        let data = match caller.await {
            Ok(data) => data,
            Err(Error::Unauthenticated) => {
                counted.note(&Item::Forbidden);
                return stream::iter([Item::Forbidden]).boxed();
            }
            Err(failure) => {
                let busy = (ErrorCode::ServiceUnavailable, "Too many requests are under way. Try again in a moment.");
                let (code, message) = if matches!(failure, Error::Busy) { busy } else { of_failure(failure) };
                let refusal = Item::refused(code.request_error(message), &request_id);
                counted.note(&refusal);
                return stream::iter([refusal]).boxed();
            }
        };
        let mut item = move |outcome| {
            let item = match outcome {
                Outcome::Answered(response) => Item::of(response, kind, &request_id),
                Outcome::Failed(code, message) => Item::refused(code.request_error(message), &request_id),
            };
            counted.note(&item);
            item
        };
        if kind == OperationType::Subscription {
            operations.stream(operation, data).map(item).boxed()
        } else {
            let outcome = operations.run(operation, data).await;
            stream::iter([item(outcome)]).boxed()
        }
    };
    // Boxed, so that what beginning needs is freed when the operation has begun.
    begin.boxed().flatten_stream().boxed()
}

/// The error of an operation that there are too many for.
pub(super) fn too_many(limit: usize) -> async_graphql::ServerError {
    let message = format!("At most {limit} operations can run on a socket at once. Complete one first.");
    ErrorCode::RateLimited.request_error(message)
}

pub(super) type Items = Pin<Box<dyn Stream<Item = Item> + Send>>;

/// Counts an operation, with the code of the last it gave, once it is dropped.
pub(super) struct Counted {
    operation: &'static str,
    code: &'static str,
}

impl Counted {
    /// An operation begins; `none` for one that could not be read.
    pub(super) fn begin(operation: &'static str) -> Self {
        metrics::socket_operation_began();
        Self { operation, code: "OK" }
    }

    /// It gave something.
    fn note(&mut self, item: &Item) {
        self.code = item.code();
    }

    /// It gave something and has ended.
    pub(super) fn ended(mut self, item: &Item) {
        self.note(item);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::socket_operation_ended(self.operation, self.code);
    }
}

struct Run {
    id: String,
    single: bool,
    items: Items,
    /// What it gave while nothing could be written, or its end; pending when that is handed on.
    held: Poll<Option<Item>>,
    span: Span,
    began: Instant,
}

impl Run {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        match std::mem::replace(&mut self.held, Poll::Pending) {
            Poll::Ready(item) => Poll::Ready(item),
            Poll::Pending => self.span.in_scope(|| self.items.as_mut().poll_next(context)),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _entered = self.span.enter();
        tracing::info!(graphql.transport = "websocket", elapsed.ms = millis, "operation");
    }
}

/// The operations of a socket.
#[derive(Default)]
pub(super) struct Running {
    /// Few: looking at all of them is cheaper than keeping account of which to look at.
    list: Vec<Run>,
    /// The one that is looked at first, so that none starves.
    first: usize,
}

impl Running {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.list.iter().any(|run| run.id == id)
    }

    /// Begins an operation. `single` has one result and may come to its end when the process stops.
    pub(super) fn begin(&mut self, id: String, single: bool, items: Items, span: Span) {
        self.list.push(Run { id, single, items, held: Poll::Pending, span, began: Instant::now() });
    }

    /// Ends an operation; nothing of it comes any more.
    pub(super) fn end(&mut self, id: &str) {
        self.list.retain(|run| run.id != id);
    }

    /// Ends all operations but those with a single result.
    pub(super) fn end_subscriptions(&mut self) {
        self.list.retain(|run| run.single);
    }

    /// Goes on with the operations until each has something, which it holds: none of them stops half-way with a connection to the
    /// database, or a place among those that are worked on, because the peer does not read.
    pub(super) fn keep_working(&mut self, context: &mut Context<'_>) {
        for run in &mut self.list {
            if run.held.is_pending()
                && let Poll::Ready(item) = run.poll(context)
            {
                run.held = Poll::Ready(item);
                // That may have taken a while: others have their turn before the next.
                context.waker().wake_by_ref();
                return;
            }
        }
    }

    /// What an operation gives next, with its id; `None` for its end, after which it is gone.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(String, Option<Item>)> {
        let count = self.list.len();
        for offset in 0..count {
            let index = (self.first + offset) % count;
            let run = &mut self.list[index];
            let Poll::Ready(item) = run.poll(context) else { continue };
            self.first = index + 1;
            let goes_on = matches!(item, Some(Item::Next(_)));
            let id = if goes_on { run.id.clone() } else { std::mem::take(&mut self.list.swap_remove(index).id) };
            return Poll::Ready((id, item));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_starves_beside_one_that_always_has_something() {
        let endless = || stream::repeat_with(|| Item::Next(Box::new(Response::new(Value::Null)))).boxed();
        let mut running = Running::default();
        for id in ["a", "b", "c"] {
            running.begin(id.to_owned(), false, endless(), Span::none());
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        let next = |_| match running.poll_next(&mut context) {
            Poll::Ready((id, Some(Item::Next(_)))) => id,
            _ => panic!("each has a result"),
        };
        assert_eq!((0..6).map(next).collect::<String>(), "abcabc");
        running.end("b");
        assert!(!running.contains("b") && running.contains("c"));
    }

    #[test]
    fn what_an_operation_gives_while_nothing_can_be_written_is_held_and_comes_once() {
        let mut running = Running::default();
        let two = stream::iter([1, 2]).map(|number| Item::Next(Box::new(Response::new(number)))).boxed();
        running.begin("a".to_owned(), false, two, Span::none());
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut numbers = Vec::new();
        for _ in 0..3 {
            running.keep_working(&mut context);
            running.keep_working(&mut context);
            match running.poll_next(&mut context) {
                Poll::Ready((_, Some(Item::Next(response)))) => numbers.push(response.data.to_string()),
                Poll::Ready((_, None)) => numbers.push("end".to_owned()),
                _ => panic!("there is something"),
            }
        }
        assert_eq!(numbers, ["1", "2", "end"]);
        assert_eq!(running.len(), 0);
    }

    #[test]
    fn only_failures_of_a_subscription_itself_end_it() {
        use async_graphql::{PathSegment, ServerError};
        let failed = |path: &[&str]| {
            let mut error = ServerError::new("x", None);
            error.path = path.iter().map(|name| PathSegment::Field((*name).to_owned())).collect();
            has_failed(&Response::from_errors(vec![error]))
        };
        assert!(failed(&[]) && failed(&["accountEvents"]));
        assert!(!failed(&["accountEvents", "actor"]));
        assert!(!has_failed(&Response::new(Value::Null)));
    }
}
