// What JavaScript clients make of a socket: node socket.mjs CLIENT URL TOKEN CURSOR
// CLIENT is graphql-ws, apollo or urql. Prints a line per step, follows the account from the cursor, and connects again when it is
// told to. It never ends by itself.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

// Apollo Client asks for the browser's.
globalThis.WebSocket ??= WebSocket;

const [, , name, url, token, after] = process.argv;
const QUERY = '{ viewer { account { id } } }';
const FEED = 'subscription Feed($after: String) { accountEvents(after: $after) { cursor kind } }';
const SNAPSHOT = 'subscription { accountUpdated { account { name } } }';
const WRONG = 'subscription { nothing }';

let connections = 0;
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  lazy: false,
  retryAttempts: 50,
  retryWait: () => new Promise((done) => setTimeout(done, 100)),
  connectionParams: { authorization: `Bearer ${token}` },
  on: {
    connected: () => {
      connections += 1;
      console.log(`connected ${connections}`);
    },
    closed: (event) => console.log(`closed ${event.code}`),
  },
});

/** Subscribes with a library: `next` gets each result `{ data, errors }`, `error` what ends the operation. */
async function library() {
  if (name === 'apollo') {
    const { ApolloClient, InMemoryCache, gql } = await import('@apollo/client/core/index.js');
    const { GraphQLWsLink } = await import('@apollo/client/link/subscriptions/index.js');
    const apollo = new ApolloClient({ link: new GraphQLWsLink(client), cache: new InMemoryCache() });
    return {
      query: (query) => apollo.query({ query: gql(query) }),
      subscribe: (query, next, error, variables) => {
        apollo.subscribe({ query: gql(query), variables }).subscribe({
          next: (result) => (result.error ? error(result.error) : next(result)),
          error,
        });
      },
    };
  }
  if (name === 'urql') {
    const { Client, subscriptionExchange } = await import('@urql/core');
    const urql = new Client({
      url,
      preferGetMethod: false,
      exchanges: [
        subscriptionExchange({
          enableAllOperations: true,
          forwardSubscription: (operation) => ({
            subscribe: (sink) => ({ unsubscribe: client.subscribe(operation, sink) }),
          }),
        }),
      ],
    });
    return {
      query: (query) => urql.query(query, {}).toPromise(),
      subscribe: (query, next, error, variables) => {
        urql.subscription(query, variables ?? {}).subscribe((result) => (result.error ? error(result.error) : next(result)));
      },
    };
  }
  return {
    query: (query) => new Promise((next, error) => client.subscribe({ query }, { next, error, complete() {} })),
    subscribe: (query, next, error, variables) =>
      client.subscribe({ query, variables }, { next, error, complete() {} }),
  };
}

const { query, subscribe } = await library();
const answer = await query(QUERY);
console.log(`queried ${answer.data.viewer.account.id}`);
await new Promise((done) =>
  subscribe(WRONG, () => {}, (error) => {
    const first = Array.isArray(error) ? error[0] : (error.errors ?? error.graphQLErrors)[0];
    console.log(`refused ${first.extensions.code}`);
    done();
  }),
);
const failed = (error) => {
  console.log(`failed ${JSON.stringify(error)} ${error}`);
  process.exit(1);
};
subscribe(FEED, ({ data }) => console.log(`saw ${data.accountEvents.kind}`), failed, { after });
subscribe(SNAPSHOT, ({ data }) => console.log(`account ${data.accountUpdated.account.name}`), failed);
