"""What the tests of the base client share."""

from __future__ import annotations

import pytest

from glisk.clients.http import HttpClient
from glisk.errors import ProviderError


def failure(client: HttpClient, *, idempotent: bool = True, max_bytes: int = 1000) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        client.call("POST", "/thing", idempotent=idempotent, json_body={}, max_bytes=max_bytes)
    return caught.value
