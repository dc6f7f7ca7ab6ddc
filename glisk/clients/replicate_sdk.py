"""The one call that is left to Replicate's official SDK (see glisk/clients/replicate.py for why).

It stands in a module of its own because importing the SDK costs 25 MB.
"""

from __future__ import annotations

import httpx
import replicate
from pydantic import ValidationError
from replicate.client import RetryTransport
from replicate.exceptions import ReplicateError

from glisk.clients.http import HttpOptions
from glisk.clients.http_errors import Fault, Reply, error_for_reply, read_plain
from glisk.clients.replicate_prediction import VENDOR
from glisk.errors import TransientError

_WHAT = "GET /v1/webhooks/default/secret"


class _OneTry(httpx.HTTPTransport):
    """Raises where the SDK's own transport, which wraps this one, would sleep and try again."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if response.status_code in RetryTransport.RETRYABLE_STATUS_CODES:
            reply = Reply(response.status_code, response.headers, response.read())
            response.close()
            raise error_for_reply(reply, read_plain(reply), VENDOR, _WHAT, idempotent=True)
        return response


def read_webhook_secret(*, api_token: str, base_url: str, options: HttpOptions) -> str:
    """Return the signing key of the account's webhooks.

    Raises AccountError if the token is refused, TransientError or another error of the tree for
    anything else.
    """
    transport = _OneTry()
    client = replicate.Client(
        api_token=api_token,
        base_url=base_url,
        transport=transport,
        timeout=httpx.Timeout(
            options.read_timeout_seconds, connect=options.connect_timeout_seconds
        ),
    )
    try:
        return client.webhooks.default.secret().key
    except ReplicateError as error:
        reply = Reply(status=error.status or 500, headers={}, body=b"")
        fault = Fault(detail=error.detail or error.title or "")
        raise error_for_reply(reply, fault, VENDOR, _WHAT, idempotent=True) from None
    except (httpx.HTTPError, ValidationError, ValueError) as error:
        raise TransientError(
            f"replicate: {_WHAT} failed ({type(error).__name__}). Try again later.",
            vendor=VENDOR,
            code="connection",
        ) from None
    finally:
        transport.close()  # the SDK's client itself has no way to be closed
