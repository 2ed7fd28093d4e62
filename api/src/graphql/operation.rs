//! Operations, the same over every transport: a document passes the guards, then it runs within its time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use async_graphql::{Data, Executor, Request, Response, ServerError, Variables};
use domain::infra::config;
use domain::infra::metrics::{self, Cause};
use futures::{Stream, StreamExt};
use tokio::task::JoinError;
use tokio::time::error::Elapsed;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::Instrument;

use super::document::{Document, Documents};
use super::error::{self, ErrorCode};
use super::guard::{GuardLimits, TypeNames};
use super::order::Order;
use super::params::Params;
use super::root_field;

/// What an executor runs, and within which limits. Clones share everything.
#[derive(Clone)]
pub struct Operations<E> {
    executor: E,
    shared: Arc<Shared>,
}

struct Shared {
    guard: GuardLimits,
    types: TypeNames,
    time_limit: Duration,
    documents: Documents,
    tasks: TaskTracker,
}

/// An operation that passed the guards. Not `Debug`: variables hold passwords.
pub struct Operation {
    document: Arc<Document>,
    name: Option<String>,
    kind: OperationType,
    variables: Variables,
}

/// How a query or a mutation ended, or one result of a subscription.
pub enum Outcome {
    /// With a result, or with the errors of a document that the schema refuses.
    Answered(Box<Response>),
    /// Without a result: its time was over, or it failed inside. The message of an internal failure is for the log.
    Failed(ErrorCode, String),
}

impl Operation {
    /// Query, mutation or subscription.
    pub fn kind(&self) -> OperationType {
        self.kind
    }

    /// Whether it changes something.
    pub fn is_mutation(&self) -> bool {
        self.kind == OperationType::Mutation
    }

    /// Its name, if it has one. Chosen by the client: of any length within the document's, of letters, digits and underscores.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its name as the log shows it.
    pub fn label(&self) -> String {
        self.name().unwrap_or("anonymous").chars().take(80).collect()
    }

    /// What metrics and traces call it.
    pub fn root_field(&self) -> &'static str {
        let operation = self.document.operation(self.name.as_deref());
        operation.map_or("unknown", |(_, operation)| root_field::name(self.document.parsed(), &operation.node))
    }

    /// All it asks for at the root.
    pub fn root_fields(&self) -> Vec<&str> {
        let operation = self.document.operation(self.name.as_deref());
        operation.map_or_else(|_| Vec::new(), |(_, operation)| root_field::all(self.document.parsed(), &operation.node))
    }

    /// The request for the executor, and the order of the answer's fields.
    fn request(self, data: Data) -> (Request, Order) {
        let order = self.document.order(self.name.as_deref());
        let mut request = Request::new(self.document.text()).variables(self.variables);
        request.operation_name = self.name;
        request.data = data;
        request.set_parsed_query(self.document.parsed().clone());
        (request, order)
    }
}

impl<E: Executor> Operations<E> {
    /// What `executor` runs within `limits`. A schema must have been built through [`guarded`](super::guard::guarded); `sdl` is
    /// its definition language.
    pub fn new(executor: E, sdl: &str, limits: &config::Limits) -> Self {
        let shared = Shared {
            guard: GuardLimits::from(limits),
            types: TypeNames::of_sdl(sdl),
            time_limit: Duration::from_secs(limits.request_seconds),
            documents: Documents::default(),
            tasks: TaskTracker::new(),
        };
        Self { executor, shared: Arc::new(shared) }
    }

    /// Looks at what a client asks for: its text, its cost, its variables.
    ///
    /// # Errors
    /// One error for what is not to be executed, with its code.
    pub fn read(&self, params: Params) -> Result<Operation, ServerError> {
        let shared = &self.shared;
        let document = match shared.documents.get(&params.query) {
            Some(document) => document,
            None => Arc::new(Document::read(&params.query, &shared.guard, &shared.types)?),
        };
        let (name, operation) = document.operation(params.operation_name.as_deref())?;
        document.check_variables(&operation.node, &params.variables, &shared.guard)?;
        let (name, kind) = (name.map(ToOwned::to_owned), operation.node.ty);
        Ok(Operation { document, name, kind, variables: params.variables })
    }

    /// Runs a query or a mutation with `data` for its resolvers. A query ends when nobody waits for it any more; a mutation runs
    /// to its end, detached. Both are cut when the time of a request is over: what a transaction has not committed by then is
    /// rolled back.
    pub async fn run(&self, operation: Operation, data: Data) -> Outcome {
        let (document, detached) = (Arc::clone(&operation.document), operation.is_mutation());
        let (request, order) = operation.request(data);
        let (executor, limit) = (self.executor.clone(), self.shared.time_limit);
        let work = async move { tokio::time::timeout(limit, executor.execute(request)).await }.in_current_span();
        let task = self.shared.tasks.spawn(work);
        let mut ended = if detached { task.await } else { AbortOnDropHandle::new(task).await };
        if let Ok(Ok(response)) = &mut ended {
            self.accept(&document, &order, response);
        }
        Outcome::of(ended)
    }

    /// Runs a subscription with `data` for its resolvers: its results, or the errors of a document that the schema refuses. It
    /// ends when the stream is dropped, and after a panic.
    pub fn stream(&self, operation: Operation, data: Data) -> impl Stream<Item = Outcome> + Send + use<E> {
        let document = Arc::clone(&operation.document);
        let (request, order) = operation.request(data);
        let operations = self.clone();
        let results = AssertUnwindSafe(self.executor.execute_stream(request, None)).catch_unwind();
        results.map(move |result| match result {
            Ok(mut response) => {
                operations.accept(&document, &order, &mut response);
                Outcome::Answered(Box::new(response))
            }
            Err(_panic) => Outcome::Failed(ErrorCode::InternalServerError, "a subscription panicked".to_owned()),
        })
    }

    /// Waits for the mutations whose clients have left. To be called when no further requests come in.
    pub async fn drain(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// What the schema accepted is kept, and answered in the order of the request.
    fn accept(&self, document: &Arc<Document>, order: &Order, response: &mut Response) {
        if !error::is_request_error(response) {
            order.apply(&mut response.data);
            self.shared.documents.keep(document);
        }
    }

    #[cfg(test)]
    pub(super) fn keeps(&self, text: &str) -> bool {
        self.shared.documents.get(text).is_some()
    }
}

impl Outcome {
    fn of(ended: Result<Result<Response, Elapsed>, JoinError>) -> Self {
        match ended {
            Ok(Ok(response)) => Self::Answered(Box::new(response)),
            Ok(Err(_elapsed)) => {
                metrics::refused(Cause::Timeout);
                Self::Failed(ErrorCode::Timeout, "The request took too long and was ended.".to_owned())
            }
            // The text goes to the log only.
            Err(failure) if failure.is_panic() => Self::Failed(ErrorCode::InternalServerError, failure.to_string()),
            Err(_cancelled) => {
                metrics::refused(Cause::Stopping);
                Self::Failed(ErrorCode::ServiceUnavailable, "The server is stopping.".to_owned())
            }
        }
    }
}
