"""Every page of the admin that somebody can look at, found as an operator finds it: by its links.

Tables by the sidebar; filters, sortings and actions by what their list offers; objects by their
rows. What is searched for is named here, once for each column that a search reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from html import unescape
from typing import Any

Get = Callable[[str], str]
Ask = Callable[[str], object]

OPERATOR = "operator"
INDEX = "/admin/"
CONTROLS = "/admin/glisk/systemstate/controls/"
PREVIEW = "/admin/authors/author/import/"
MOST_KEYS = 500  # glisk.admin.actions.MOST_AT_ONCE
_DEEP = 200
_TABLE = re.compile(r'href="(/admin/(\w+)/(\w+)/)"')
_CHOICE = re.compile(r'href="(\?[^"]+)"')
_ROW = re.compile(r'href="(/admin/\w+/\w+/([^"/]+)/)change/')
_ACTION = re.compile(r'<option value="(\w+)"')
_BUTTON = re.compile(r'href="(/admin/\w+/\w+/action/[^"]+)"')


def _middle(table: str, key: str = "id") -> str:
    """Return the question for a row in the middle of a table, whatever its keys begin with."""
    middle = f"SELECT (min({key}) + max({key})) / 2 FROM {table}"
    return f"SELECT {key} FROM {table} WHERE {key} >= ({middle}) ORDER BY 1 LIMIT 1"


_FRAMES = (
    INDEX, "/admin/dashboard/", "/admin/audit/", "/admin/search/?s=token",
    "/admin/password_change/", "/admin/jsi18n/", CONTROLS, "/admin/authors/author/add/", PREVIEW,
    "/admin/authors/author/export/", "/admin/auth/user/add/", "/admin/auth/group/add/",
)  # fmt: skip
_IN_STATE = "SELECT {} FROM tokens_s0 WHERE status = '{}'"
_PICTURED = "SELECT max(token_id) FROM token_images WHERE data IS NOT NULL"
_OBJECTS = (
    *(
        ("tokens/token/{}/change/", _IN_STATE.format("max(token_id)", state))
        for state in ("revealed", "ready", "failed")
    ),
    ("audit/?about=tokens.token:{}", "SELECT max(object_id::int) FROM django_admin_log"),
    ("tokens/token/{}/picture/", _PICTURED),
    ("tokens/token/{}/thumbnail/", _PICTURED),
    ("tokens/mintevent/{}/change/", _middle("mint_events")),
    ("tokens/imagegenerationjob/{}/change/", _middle("image_generation_jobs")),
    ("tokens/ipfsuploadrecord/{}/change/", _middle("ipfs_upload_records")),
    ("tokens/promptsample/try/{}/", _middle("authors")),
    ("tokens/promptsample/{}/picture/", "SELECT max(id) FROM prompt_samples"),
    ("reveals/revealbatch/{}/change/", _middle("reveal_batches")),
    ("reveals/revealtransaction/{}/change/", _middle("reveal_transactions")),
    ("webhooks/webhookevent/{}/change/", _middle("webhook_events")),
    ("authors/author/{}/change/", _middle("authors")),
    ("auth/user/{}/password/", "SELECT min(id) FROM auth_user"),
)
_MIDDLE_TOKEN = _middle("tokens_s0", "token_id")
_OF_MOST = tuple(
    f"SELECT {column} FROM mint_events GROUP BY 1 ORDER BY sum(quantity) DESC LIMIT 1"
    for column in ("prompt_author", "minter")
)


def _newest(table: str, *columns: str) -> tuple[str, ...]:
    return tuple(f"SELECT max({column}) FROM {table}" for column in columns)


# What is searched for, by list; one question for each column that a search reads.
_SEARCHES = {
    "tokens/token": (
        *_newest("tokens_s0", "reveal_tx_hash", "image_cid", "metadata_cid", "minter_address"),
        *_newest("tokens_s0", "prompt_author_wallet"),
        *(*_OF_MOST, _MIDDLE_TOKEN),
    ),
    "tokens/mintevent": (
        *_newest("mint_events", "tx_hash", "minter", "start_token_id", "block_number"),
        *_OF_MOST,
    ),
    "tokens/imagegenerationjob": (
        *_newest("image_generation_jobs", "external_id"),
        _MIDDLE_TOKEN,
    ),
    "tokens/ipfsuploadrecord": (*_newest("ipfs_upload_records", "computed_cid"), _MIDDLE_TOKEN),
    "tokens/promptsample": _newest("authors", "wallet_address"),
    "reveals/revealbatch": (
        *_newest("reveal_transactions", "tx_hash"),
        *_newest("reveal_batches", "keeper"),
        _MIDDLE_TOKEN,
    ),
    "reveals/revealtransaction": _newest(
        "reveal_transactions", "tx_hash", "keeper", "block_number"
    ),
    "webhooks/webhookevent": _newest("webhook_events", "event_id"),
    "authors/author": _newest("authors", "wallet_address", "twitter_handle"),
    "glisk/systemstate": ("SELECT 'recovery'",),
    "django_q/failure": ("SELECT 'no such task'",),
    "auth/user": ("SELECT 'operator'",),
    "auth/group": ("SELECT 'operator'",),
}
_SHARE = 10  # one mint in so many is by the author, and one by the minter, of most tokens
# What only operators do: every hundredth token was repaired, some prompts were tried.
_OPERATORS_WORK = (
    "UPDATE mint_events SET prompt_author = (SELECT prompt_author FROM mint_events WHERE id = 1) "
    f"WHERE id % {_SHARE} = 0",
    "UPDATE mint_events SET minter = (SELECT minter FROM mint_events WHERE id = 1) "
    f"WHERE id % {_SHARE} = 1",
    "UPDATE tokens_s0 t SET prompt_author_wallet = e.prompt_author, minter_address = e.minter "
    f"FROM mint_events e WHERE e.id = t.mint_event_id AND e.id % {_SHARE} < 2",
    "INSERT INTO django_admin_log (action_time, user_id, content_type_id, object_id, object_repr, "
    "action_flag, change_message) SELECT now(), u.id, c.id, n::text, 'token ' || n, 2, 'Retry: "
    "back in generating.' FROM auth_user u, django_content_type c, "
    "generate_series(1, (SELECT max(token_id) FROM tokens_s0), 100) AS n "
    "WHERE c.app_label = 'tokens' AND c.model = 'token'",
    "INSERT INTO operator_actions (at, actor, action, subject, reason, detail) SELECT now(), "
    "'operator', 'pause', 'generation', 'a look', '{}' FROM generate_series(1, 1000)",
    "INSERT INTO alerts (kind, name, level, headline, reason, advice, tokens, url, began_at, "
    "seen_at, ended_at) SELECT 'breaker', 'pinata', 'high', 'Uploads paused', '', '', 1, '', "
    "now(), now(), now() FROM generate_series(1, 1000)",
    "INSERT INTO prompt_samples (author_id, prompt, actor, input, service, model, status, error, "
    "data, mime_type, created_at) SELECT a.id, a.prompt_text, 'operator', '{}', 'replicate', "
    "'flux', 'done', '', (SELECT data FROM token_images WHERE data IS NOT NULL LIMIT 1), "
    "'image/png', now() FROM authors a, generate_series(1, 2) LIMIT 1000",
    "INSERT INTO auth_group (name) SELECT 'group ' || n FROM generate_series(1, 3) AS n",
    "INSERT INTO django_q_schedule (name, func, schedule_type, minutes, repeats, next_run) "
    "SELECT 'schedule ' || n, 'tokens.tasks.look', 'I', 1, -1, now() "
    "FROM generate_series(1, 20) AS n",
    "INSERT INTO django_q_task (id, name, func, started, stopped, success, attempt_count) "
    "SELECT md5(n::text), 'task ' || n, 'tokens.tasks.look', now(), now(), false, 1 "
    "FROM generate_series(1, 1000) AS n",
    "INSERT INTO knox_authtoken (digest, token_key, user_id, created) "
    "SELECT md5(n::text), left(md5(n::text), 8), u.id, now() "
    "FROM auth_user u, generate_series(1, 60) AS n",
    "VACUUM (ANALYZE)",
)


def add_operators_work(database: Any) -> None:
    """Add what operators left behind, and give one author and one minter a tenth of the tokens."""
    for statement in _OPERATORS_WORK:
        database.execute(statement.encode())


def addresses(get: Get, ask: Ask) -> Iterator[str]:
    """Yield every page; `get` opens one, `ask` returns the only value of a query.

    A list's later page may not be there: it leads elsewhere then. Raises RuntimeError if the
    database holds nothing to search for.
    """
    yield from _FRAMES
    tables = {match[1]: match[2] for match in _TABLE.finditer(get(INDEX))}
    yield from (f"/admin/{app}/" for app in dict.fromkeys(tables.values()))
    for table in tables:
        yield from _of_table(get, table)
    for page, query in _OBJECTS:
        yield f"/admin/{page.format(_found(ask, query))}"
    for page, searched in _SEARCHES.items():
        yield from (f"/admin/{page}/?q={_found(ask, query)}" for query in searched)
    batches = "SELECT token_id FROM reveal_batch_tokens ORDER BY id LIMIT 1"
    yield f"/admin/reveals/revealbatch/?items__token__token_id={_found(ask, batches)}"
    keys = "SELECT string_agg(token_id::text, ',') FROM (SELECT token_id FROM tokens_s0 "
    keys += f"WHERE status = '{{}}' ORDER BY 1 LIMIT {MOST_KEYS}) AS t"
    yield f"/admin/tokens/token/action/retry/?keys={_found(ask, keys.format('failed'))}"
    yield f"/admin/tokens/token/action/reveal/?keys={_found(ask, keys.format('ready'))}"


def _of_table(get: Get, table: str) -> Iterator[str]:
    """Yield a list with all that it offers, its newest object, and orders for its first rows."""
    listing = get(table)
    choices = _choices(listing)
    yield from (f"{table}{query}" for query in ("", "?p=2", f"?p={_DEEP}", *choices))
    yield from (f"{table}{query}&p={_DEEP}" for query in choices)
    rows = {match[2]: match[1] for match in _ROW.finditer(listing) if match[1].startswith(table)}
    for row in list(rows.values())[:1]:
        yield f"{row}change/"
        yield from (unescape(match[1]) for match in _BUTTON.finditer(get(f"{row}change/")))
    if rows:
        actions = dict.fromkeys(match[1] for match in _ACTION.finditer(listing))
        actions.pop("delete_selected", None)  # Django's own, which has no address
        yield from (f"{table}action/{name}/?keys={','.join(rows)}" for name in actions)


def _choices(listing: str) -> list[str]:
    """Return the filters and sortings of a list, each sorting in both directions."""
    found: dict[str, None] = {}
    for match in _CHOICE.finditer(listing):
        query = unescape(match[1])
        name, _, value = query[1:].partition("=")
        if name == "o" and value:
            column = value.split(".")[0].lstrip("-")
            found |= dict.fromkeys((f"?o={column}", f"?o=-{column}"))
        elif name not in ("o", "p"):
            found[query] = None
    return list(found)


def _found(ask: Ask, query: str) -> object:
    value = ask(query)
    if value is None:
        raise RuntimeError(f"nothing found: {query}")
    return value


def authors_csv(known: Iterable[str], new: int) -> bytes:
    """Return a file of authors: those that are known, with other prompts, and new ones."""
    prompt = "A harbour at dusk with many a boat and few people. " * 19  # nearly 1,000 characters
    lines = ["wallet,prompt,x,farcaster"]
    lines += [f"{wallet},{prompt},," for wallet in known]
    lines += [f"0x{9_000_000_000 + number:040d},{prompt},," for number in range(new)]
    return ("\n".join(lines) + "\n").encode()
