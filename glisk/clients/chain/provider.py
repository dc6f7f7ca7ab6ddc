"""web3.py's provider over our own session; imported when a client is made."""

from __future__ import annotations

import json
from typing import Any, Final

from eth_typing import URI
from web3 import HTTPProvider

from glisk.clients.chain.refusals import VENDOR
from glisk.clients.http import BoundedSession, Reply
from glisk.errors import TransientError
from glisk.foreign_json import loads

_JSON: Final = {"Content-Type": "application/json"}


class Provider(HTTPProvider):
    """web3's provider, with a depth that is checked before the parse, and batches left as they are.

    web3 sorts a batch's members by an id that all threads count, or falls over one that is none;
    ours count within the request, so that an answer finds its call.
    """

    def __init__(self, url: str, session: BoundedSession) -> None:
        super().__init__(
            URI(url),
            request_kwargs={"headers": _JSON},
            session=session,
            exception_retry_configuration=None,  # it would send a transaction five times
        )
        self._url, self._session = url, session

    def make_batch_request(self, batch_requests: Any) -> Any:
        """Return the members as they came, or the one answer that stands for all."""
        calls = [
            {"jsonrpc": "2.0", "id": index, "method": method, "params": params}
            for index, (method, params) in enumerate(batch_requests)
        ]
        body = json.dumps(calls, separators=(",", ":")).encode("ascii")
        reply = self._session.post(self._url, data=body, headers=_JSON)
        return self.decode_rpc_response(reply.content)

    @staticmethod
    def decode_rpc_response(raw_response: bytes) -> Any:
        try:
            return loads(raw_response)
        except ValueError:  # web3's own error has the whole body in its text
            text = f"chain: the answer is no JSON: {Reply(200, {}, raw_response).excerpt()}"
            raise TransientError(text, vendor=VENDOR, code="bad_reply") from None
