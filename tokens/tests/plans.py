"""A long table of tokens, and the plans of the statements on it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import connection
from django.db.backends.utils import CursorWrapper

from authors.tests.factories import AuthorFactory

# Of ten tokens seven are revealed, as in a season that has run for a while.
_INSERT = """
    INSERT INTO tokens_s0
        (token_id, author_id, prompt_author_wallet, minter_address, mint_timestamp, prompt, status,
         status_changed_at, generation_attempts, fallback_used, error_class, error_log, attempts,
         created_at, updated_at, image_cid, metadata_cid, reveal_tx_hash, next_attempt_at)
    SELECT id, %s, %s, %s, now() - id * interval '1 second', 'p', status, now(), 0, false, '',
           '[]', 0, now(), now(),
           CASE WHEN status IN ('uploading', 'ready', 'revealed') THEN 'c' END,
           CASE WHEN status IN ('ready', 'revealed') THEN 'c' END,
           CASE WHEN status = 'revealed' THEN '0x' || lpad(to_hex(id), 64, '0') END,
           CASE WHEN status <> 'revealed' AND id %% 100 = 8 THEN now() + interval '1 hour' END
    FROM (
        SELECT id, CASE id %% 10 WHEN 7 THEN 'detected' WHEN 8 THEN 'uploading'
                                 WHEN 9 THEN 'ready' ELSE 'revealed' END AS status
        FROM generate_series(1, 8000) AS id
    ) AS made
"""


_SAMPLES = """
    INSERT INTO prompt_samples
        (author_id, prompt, actor, input, service, model, status, error, mime_type, created_at)
    SELECT %s, 'p', 'operator', '{}', 'replicate', 'flux', 'done', '', 'image/png', now()
    FROM generate_series(1, 2000)
"""


@pytest.fixture
def table(db: None) -> None:
    author = AuthorFactory.create()
    with connection.cursor() as cursor:
        # What other tests left there, dead rows and all, would decide the plans.
        cursor.execute(
            "TRUNCATE tokens_s0, image_generation_jobs, mint_events, prompt_samples CASCADE"
        )
        cursor.execute(_INSERT, [author.pk, author.wallet_address, author.wallet_address])
        cursor.execute(_SAMPLES, [author.pk])
        cursor.execute("ANALYZE tokens_s0, prompt_samples")


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the plan of every statement on tokens or their jobs."""
    found: list[str] = []
    run = CursorWrapper.execute

    def explained(self: CursorWrapper, sql: Any, params: Any = None) -> Any:
        concerned = "tokens_s0" in str(sql) or "image_generation_jobs" in str(sql)
        if concerned and re.match(r"\s*(SELECT|WITH|UPDATE)", str(sql)):
            run(self, f"EXPLAIN (FORMAT JSON) {sql}", params)
            found.append(json.dumps(self.fetchall()))
        return run(self, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", explained)
    return found


def assert_uses(plan: str, index: str) -> None:
    assert f'"Index Name": "{index}"' in plan
    assert '"Node Type": "Seq Scan"' not in plan
