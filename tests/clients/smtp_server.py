"""A mail server for tests that can misbehave.

    PYTHONPATH="$(python3 tests/clients/install.py)" python3 tests/clients/smtp_server.py PORT_FILE SPOOL_DIR [options]

Listens on a free port of 127.0.0.1, writes its number to PORT_FILE once ready and prints it as the first line.
Each accepted mail becomes SPOOL_DIR/<number>.eml (the bytes as received) and SPOOL_DIR/<number>.json:

    {"from": …, "to": […], "connection": <number of the connection>, "open": <connections open now>,
     "tls": <whether encrypted>, "user": <who signed in, or null>}

The local part of a recipient decides what happens:

    defer@…         451 to RCPT
    refuse@…        550 to RCPT, with the address in the reply
    late-defer@…    451 to the message
    late-refuse@…   554 to the message, over two lines
    reset@…         the connection is reset at RCPT
    drop@…          the mail is spooled, then the connection is closed without a reply
    slow+SECONDS@…  the mail is spooled, then the reply takes that long
    anything else   250
"""

import argparse
import asyncio
import itertools
import json
import logging
import os
import pathlib
import socket
import ssl
import struct
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult


class Server(SMTP):
    """Counts connections, so that a test can see a pool at work."""

    numbers = itertools.count(1)
    open_now = 0

    def connection_made(self, transport):
        if not hasattr(self, "number"):
            self.number = next(Server.numbers)
            Server.open_now += 1
        super().connection_made(transport)

    def connection_lost(self, error):
        if not getattr(self, "gone", False):
            self.gone = True
            Server.open_now -= 1
        super().connection_lost(error)


class Handler:
    def __init__(self, spool):
        self.spool = spool
        self.mails = itertools.count(1)

    async def handle_RCPT(self, server, session, envelope, address, options):
        behaviour = local_part(address)
        if behaviour == "defer":
            return "451 4.7.1 Greylisted, try again later"
        if behaviour == "refuse":
            return f"550 5.1.1 <{address}>: Recipient address rejected: User unknown"
        if behaviour == "reset":
            reset(server.transport)
            return "421 4.3.0 never sent"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        behaviour = local_part(envelope.rcpt_tos[0])
        if behaviour == "late-defer":
            return "451 4.3.0 Try again later"
        if behaviour == "late-refuse":
            return "554-5.7.1 Message refused\r\n554 5.7.1 by policy"
        number = self.keep(server, session, envelope)
        if behaviour == "drop":
            server.transport.close()
        elif behaviour.startswith("slow+"):
            await asyncio.sleep(float(behaviour.removeprefix("slow+")))
        return f"250 2.0.0 Ok: queued as {number}"

    def keep(self, server, session, envelope):
        number = next(self.mails)
        facts = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "connection": server.number,
                 "open": Server.open_now, "tls": server.transport.get_extra_info("ssl_object") is not None, "user": session.auth_data}
        write(self.spool / f"{number}.eml", envelope.original_content)
        write(self.spool / f"{number}.json", json.dumps(facts).encode())
        return number


def local_part(address):
    return address.rsplit("@", 1)[0].strip('"').lower()


def reset(transport):
    """Closes with a TCP reset instead of an orderly end."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def write(path, content):
    """Readers see all of a file or none of it."""
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_bytes(content)
    partial.rename(path)


def authenticator(options):
    def check(server, session, envelope, mechanism, data):
        good = (data.login, data.password) == (options.user.encode(), options.password.encode())
        return AuthResult(success=good, auth_data=data.login.decode() if good else None, handled=False)

    return check


def factory(options, handler):
    context = None
    if options.tls != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.cert, options.key)
    settings = {"hostname": "mail.example.com", "ident": "test"}
    if options.tls == "starttls":
        settings |= {"tls_context": context, "require_starttls": True}
    if options.user:
        settings |= {"authenticator": authenticator(options), "auth_required": True,
                     "auth_require_tls": options.tls == "starttls"}
    return (lambda: Server(handler, **settings)), context if options.tls == "implicit" else None


async def serve(options):
    loop = asyncio.get_running_loop()
    make, context = factory(options, Handler(options.spool))
    listening = await loop.create_server(make, "127.0.0.1", options.port, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    write(options.port_file, str(port).encode())
    print(port, flush=True)
    if options.until_eof:
        await loop.run_in_executor(None, sys.stdin.buffer.read)
        os._exit(0)
    await listening.serve_forever()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("port_file", type=pathlib.Path)
    arguments.add_argument("spool", type=pathlib.Path)
    arguments.add_argument("--port", type=int, default=0, help="instead of a free one")
    arguments.add_argument("--tls", choices=["none", "starttls", "implicit"], default="none")
    arguments.add_argument("--cert", help="certificate chain, PEM")
    arguments.add_argument("--key", help="key of the certificate, PEM")
    arguments.add_argument("--user", help="require this user to sign in")
    arguments.add_argument("--password", default="")
    arguments.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    options = arguments.parse_args()
    warnings.simplefilter("ignore")  # It knows that signing in without TLS is unwise.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    options.spool.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
