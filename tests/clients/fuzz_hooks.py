"""What schemathesis cannot know of the schema: values of its scalars, and ids of things there are.

FUZZ_IDS names the ids, separated by spaces, FUZZ_EMAILS addresses that have a login.
"""

import os

import schemathesis
from hypothesis import strategies as st
from schemathesis import graphql

STRANGE = ["", "\u0000", "\u202e", "x" * 5000, "'; --", "\r\n", "null", "-1", "𝕏"]


def scalar(name, *values):
    words = st.sampled_from([*values, *STRANGE]) | st.text(max_size=50)
    graphql.scalar(name, words.map(graphql.nodes.String))


scalar("EmailAddress", *os.environ.get("FUZZ_EMAILS", "").split(), "nobody@work.example", "A@M\u00dcLLER.example", "a@b", "@", "a@@b.example")
scalar("DateTime", "2026-11-21T12:00:00Z", "0000-00-00T00:00:00Z", "+999999-01-01T00:00:00Z", "2026-02-30T25:61:61+99:99")
scalar("TimeZone", "UTC", "Europe/London", "Etc/Unknown")
scalar("PhoneNumber", "+12125550100", "+1")
scalar("CountryCode", "US", "XX")
scalar("CurrencyCode", "USD", "JPY", "XXX", "usd")
scalar("Decimal", "125.50", "-0", "1e9", "00000000000000000000.1", "9" * 40)
scalar("URL", "https://evil.example/", "javascript:alert(1)")
graphql.scalar("SafeInteger", st.integers(-(2**63), 2**63).map(graphql.nodes.Int))
scalar("ID", *os.environ.get("FUZZ_IDS", "").split(), "mem_", "acc_00000000000000000000000000000000", "inv_x")


FAULTS = [b"INTERNAL_SERVER_ERROR", b"SERVICE_UNAVAILABLE", b'"TIMEOUT"']


@schemathesis.check
def nothing_fails(ctx, response, case):
    """The built-in check takes a refusal without data for a failure, and an error beside data for none."""
    if response.status_code >= 500 or any(fault in response.content for fault in FAULTS):
        raise AssertionError(response.content.decode(errors="replace"))
