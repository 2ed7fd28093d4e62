"""What Python's gql makes of a socket: python3 gql_socket.py URL TOKEN CURSOR

Prints the lines that socket.mjs prints. Connecting again is left to whoever uses gql: this does so when the connection is lost.
"""

import asyncio
import sys

from gql import Client, gql
from gql.transport.exceptions import TransportConnectionFailed, TransportError, TransportQueryError
from gql.transport.websockets import WebsocketsTransport

URL, TOKEN, CURSOR = sys.argv[1:4]
QUERY = gql("{ viewer { account { id } } }")
FEED = gql("subscription Feed($after: String) { accountEvents(after: $after) { cursor kind } }")
FEED.variable_values = {"after": CURSOR}
SNAPSHOT = gql("subscription { accountUpdated { account { name } } }")
WRONG = gql("subscription { nothing }")


def say(line):
    print(line, flush=True)


async def feed(session):
    async for result in session.subscribe(FEED):
        say(f"saw {result['accountEvents']['kind']}")


async def snapshot(session):
    async for result in session.subscribe(SNAPSHOT):
        say(f"account {result['accountUpdated']['account']['name']}")


async def connect(number):
    transport = WebsocketsTransport(
        url=URL,
        init_payload={"authorization": f"Bearer {TOKEN}"},
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
    )
    async with Client(transport=transport) as session:
        say(f"connected {number}")
        answer = await session.execute(QUERY)
        say(f"queried {answer['viewer']['account']['id']}")
        try:
            async for _ in session.subscribe(WRONG):
                pass
        except TransportQueryError as error:
            say(f"refused {error.errors[0]['extensions']['code']}")
        await asyncio.gather(feed(session), snapshot(session))


async def main():
    number = 1
    while True:
        try:
            await connect(number)
        except (TransportError, TransportConnectionFailed, OSError) as error:
            code = getattr(getattr(error.__cause__, "rcvd", None), "code", None)
            if code:
                say(f"closed {code}")
        number += 1
        await asyncio.sleep(0.1)


asyncio.run(main())
