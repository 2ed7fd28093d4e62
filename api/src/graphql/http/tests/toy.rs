//! A small schema, and the handler around it that a server has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::{Context, EmptySubscription, Enum, Error, InputObject, Object, Schema};
use domain::infra::config;
use tokio::sync::{Notify, mpsc};

use super::*;

#[derive(Default)]
pub(super) struct State {
    /// Calls of any resolver that counts.
    pub(super) calls: AtomicUsize,
    /// Lets a waiting resolver go on.
    pub(super) gate: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum Color {
    Red,
    Blue,
}

#[derive(InputObject)]
struct Filter {
    #[graphql(validator(minimum = 1))]
    first: i32,
    color: Option<Color>,
}

/// Tells when it is dropped.
struct Tell(mpsc::UnboundedSender<&'static str>, &'static str);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

pub(super) struct Query;

#[Object]
impl Query {
    async fn hello(&self, ctx: &Context<'_>, name: Option<String>) -> String {
        count(ctx);
        format!("hello {}", name.unwrap_or_default())
    }

    async fn sum(&self, values: Vec<i32>) -> i32 {
        values.iter().sum()
    }

    async fn filtered(&self, filter: Filter) -> i32 {
        filter.first + i32::from(filter.color.is_some())
    }

    async fn me(&self) -> Query {
        Query
    }

    async fn broken(&self) -> Option<Result<i32, Error>> {
        Some(Err(Error::new("password of table users is hunter2")))
    }

    async fn forbidden(&self) -> Option<Result<i32, Error>> {
        Some(Err(ErrorCode::Forbidden.error("You need members.read.")))
    }

    async fn unavailable(&self) -> Option<Result<i32, Error>> {
        Some(Err(ErrorCode::ServiceUnavailable.error("Try again in a moment.")))
    }

    async fn panics(&self, values: Option<Vec<i32>>) -> i32 {
        values.expect("hunter2")[0]
    }

    async fn waits(&self, ctx: &Context<'_>) -> i32 {
        let events = ctx.data_unchecked::<mpsc::UnboundedSender<&'static str>>().clone();
        let _tell = Tell(events.clone(), "query dropped");
        events.send("query entered").unwrap();
        std::future::pending().await
    }
}

pub(super) struct Mutation;

#[Object]
impl Mutation {
    async fn increment(&self, ctx: &Context<'_>) -> usize {
        ctx.append_http_header("set-cookie", "a=1; HttpOnly");
        ctx.append_http_header("set-cookie", "b=2; HttpOnly");
        count(ctx)
    }

    async fn waits(&self, ctx: &Context<'_>) -> usize {
        let events = ctx.data_unchecked::<mpsc::UnboundedSender<&'static str>>().clone();
        events.send("mutation entered").unwrap();
        ctx.data_unchecked::<Arc<State>>().gate.notified().await;
        let calls = count(ctx);
        events.send("mutation done").unwrap();
        calls
    }
}

fn count(ctx: &Context<'_>) -> usize {
    ctx.data_unchecked::<Arc<State>>().calls.fetch_add(1, Ordering::SeqCst) + 1
}

pub(super) type ToySchema = Schema<Query, Mutation, EmptySubscription>;

#[derive(Clone)]
pub(super) struct Toy {
    pub(super) endpoint: Endpoint<ToySchema>,
    pub(super) state: Arc<State>,
    pub(super) events: mpsc::UnboundedSender<&'static str>,
}

pub(super) fn limits() -> config::Limits {
    config::Limits {
        rate_limits: true,
        request_bytes: 100 * 1024,
        query_bytes: 16 * 1024,
        query_depth: 12,
        query_selections: 1_000,
        query_aliases: 15,
        request_seconds: 60,
        sockets: 10,
        socket_operations: 20,
        upload_bytes: 0,
        upload_seconds: 0,
        uploads_at_once: 0,
        import_rows: 0,
        import_field_bytes: 0,
        groups: 0,
        bulk: 500,
        custom_roles: 200,
        units: 1_000,
        concurrent_requests: 64,
    }
}

impl Toy {
    pub(super) fn new(limits: &config::Limits) -> (Self, mpsc::UnboundedReceiver<&'static str>) {
        let http = config::Http {
            listen: ([127, 0, 0, 1], 0).into(),
            public_url: "https://muster.example.com".into(),
            allowed_origins: vec!["https://app.example.com".into()],
            trusted_proxies: Vec::new(),
            drain_seconds: 0,
            shutdown_seconds: 1,
            connections: 100,
            idle_seconds: 60,
        };
        let schema = Schema::build(Query, Mutation, EmptySubscription);
        let schema = crate::graphql::guard::guarded(schema).finish();
        let (events, received) = mpsc::unbounded_channel();
        (
            Self {
                endpoint: Endpoint::new(Operations::new(schema.clone(), &schema.sdl(), limits), limits, &http),
                state: Arc::default(),
                events,
            },
            received,
        )
    }

    pub(super) fn calls(&self) -> usize {
        self.state.calls.load(Ordering::SeqCst)
    }

    pub(super) async fn call(&self, request: HttpRequest<Body>) -> Response {
        match self.endpoint.receive(request, "req-1").await {
            Ok((_, prepared)) => self.endpoint.execute(prepared, self.data()).await,
            Err(response) => *response,
        }
    }

    pub(super) fn data(&self) -> Data {
        let mut data = Data::default();
        data.insert(Arc::clone(&self.state));
        data.insert(self.events.clone());
        data
    }
}

pub(super) fn toy() -> Toy {
    Toy::new(&limits()).0
}
