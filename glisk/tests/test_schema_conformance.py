"""The server does what its schema says, whatever it is asked (schemathesis)."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from authors.tests.factories import AuthorFactory
from glisk.tests.web_server import WebServer, web
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = [pytest.mark.schema, pytest.mark.django_db(transaction=True)]
__all__ = ["web"]  # the fixture
# The limits would hide what is behind them; nobody is called before a signature is right.
_UNHINDERED = {
    "SIGNED_REQUESTS_PER_MINUTE": "100000",
    "CHANGES_PER_HOUR": "100000",
    "X_CLIENT_ID": "a-client",
    "OPTIMISM_RPC_URL": "http://127.0.0.1:9",
    "PUBLIC_BASE_URL": "https://glisk.example",
    "FRONTEND_URL": "https://glisk.example",
}
EXAMPLES = os.environ.get("GLISK_SCHEMA_EXAMPLES", "5")


@pytest.mark.timeout(300)
def test_the_server_keeps_to_its_schema(web: Callable[..., WebServer], tmp_path: Path) -> None:
    author = AuthorFactory.create()
    for token_id, status in enumerate(TokenStatus, start=1):
        TokenFactory.create(token_id=token_id, author=author, status=status)
    server = web(**_UNHINDERED)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://127.0.0.1:{server.port}/openapi.json",
            *("--phases", "examples,coverage,fuzzing"),
            *("--max-examples", EXAMPLES, "--seed", "20260223", "--request-timeout", "10"),
            # A stream of a mint that is not there yet stays open.
            *("--exclude-operation-id", "mint_events"),
            # No made-up signature is right, and no made-up token exists.
            *("--exclude-checks", "positive_data_acceptance"),
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    server.stop()
    faults = [record for record in server.records() if record["level"] in ("error", "critical")]
    assert faults == []
