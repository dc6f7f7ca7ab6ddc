"""Every page of the admin that somebody can look at, found as an operator finds it: by its links.

Tables by the sidebar; filters, sortings and actions by what their list offers; objects by their
rows. What is searched for is named here, once for each column that a search reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from html import unescape

Get = Callable[[str], str]
Ask = Callable[[str], object]

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
    INDEX,
    "/admin/dashboard/",
    "/admin/search/?s=token",
    "/admin/password_change/",
    "/admin/jsi18n/",
    CONTROLS,
    "/admin/authors/author/add/",
    PREVIEW,
    "/admin/authors/author/export/",
    "/admin/auth/user/add/",
    "/admin/auth/group/add/",
)
_OBJECTS = (
    (
        "tokens/token/{}/change/",
        "SELECT token_id FROM tokens_s0 WHERE status = 'revealed' ORDER BY 1 DESC LIMIT 1",
    ),
    (
        "tokens/token/{}/change/",
        "SELECT token_id FROM tokens_s0 WHERE status = 'ready' ORDER BY 1 LIMIT 1",
    ),
    (
        "tokens/token/{}/change/",
        "SELECT token_id FROM tokens_s0 WHERE status = 'failed' ORDER BY 1 LIMIT 1",
    ),
    ("tokens/token/{}/history/", "SELECT max(object_id::int) FROM django_admin_log"),
    ("tokens/mintevent/{}/change/", _middle("mint_events")),
    ("tokens/imagegenerationjob/{}/change/", _middle("image_generation_jobs")),
    ("tokens/ipfsuploadrecord/{}/change/", _middle("ipfs_upload_records")),
    ("reveals/revealbatch/{}/change/", _middle("reveal_batches")),
    ("reveals/revealtransaction/{}/change/", _middle("reveal_transactions")),
    ("webhooks/webhookevent/{}/change/", _middle("webhook_events")),
    ("authors/author/{}/change/", _middle("authors")),
    ("tokens/promptsample/try/{}/", _middle("authors")),
    ("tokens/promptsample/{}/picture/", "SELECT max(id) FROM prompt_samples"),
    ("tokens/token/{}/picture/", "SELECT max(token_id) FROM token_images WHERE data IS NOT NULL"),
    ("tokens/token/{}/thumbnail/", "SELECT max(token_id) FROM token_images WHERE data IS NOT NULL"),
    ("auth/user/{}/password/", "SELECT min(id) FROM auth_user"),
)
_OF_MOST = (
    "SELECT prompt_author FROM mint_events GROUP BY 1 ORDER BY sum(quantity) DESC LIMIT 1",
    "SELECT minter FROM mint_events GROUP BY 1 ORDER BY sum(quantity) DESC LIMIT 1",
)
_SEARCHES = (
    ("tokens/token", "SELECT reveal_tx_hash FROM tokens_s0 WHERE reveal_tx_hash <> '' LIMIT 1"),
    ("tokens/token", "SELECT image_cid FROM tokens_s0 WHERE image_cid <> '' LIMIT 1"),
    ("tokens/token", "SELECT metadata_cid FROM tokens_s0 WHERE metadata_cid <> '' LIMIT 1"),
    ("tokens/token", "SELECT minter_address FROM tokens_s0 LIMIT 1"),
    ("tokens/token", "SELECT prompt_author_wallet FROM tokens_s0 LIMIT 1"),
    *(("tokens/token", query) for query in _OF_MOST),
    ("tokens/token", _middle("tokens_s0", "token_id")),
    ("tokens/mintevent", "SELECT tx_hash FROM mint_events LIMIT 1"),
    ("tokens/mintevent", "SELECT minter FROM mint_events LIMIT 1"),
    *(("tokens/mintevent", query) for query in _OF_MOST),
    ("tokens/mintevent", "SELECT block_number FROM mint_events LIMIT 1"),
    ("tokens/mintevent", "SELECT max(start_token_id) FROM mint_events"),
    ("tokens/imagegenerationjob", "SELECT external_id FROM image_generation_jobs LIMIT 1"),
    ("tokens/imagegenerationjob", _middle("tokens_s0", "token_id")),
    ("tokens/ipfsuploadrecord", "SELECT computed_cid FROM ipfs_upload_records LIMIT 1"),
    ("tokens/ipfsuploadrecord", _middle("tokens_s0", "token_id")),
    ("tokens/promptsample", "SELECT wallet_address FROM authors LIMIT 1"),
    ("reveals/revealbatch", "SELECT tx_hash FROM reveal_transactions LIMIT 1"),
    ("reveals/revealbatch", "SELECT keeper FROM reveal_batches LIMIT 1"),
    ("reveals/revealbatch", _middle("tokens_s0", "token_id")),
    ("reveals/revealtransaction", "SELECT tx_hash FROM reveal_transactions LIMIT 1"),
    ("reveals/revealtransaction", "SELECT keeper FROM reveal_transactions LIMIT 1"),
    ("reveals/revealtransaction", "SELECT max(block_number) FROM reveal_transactions"),
    ("webhooks/webhookevent", "SELECT event_id FROM webhook_events LIMIT 1"),
    ("authors/author", "SELECT wallet_address FROM authors LIMIT 1"),
    ("authors/author", "SELECT twitter_handle FROM authors LIMIT 1"),
    ("glisk/systemstate", "SELECT 'recovery'"),
    ("django_q/failure", "SELECT 'no such task'"),
    ("auth/user", "SELECT 'operator'"),
    ("auth/group", "SELECT 'operator'"),
)


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
    for page, query in _SEARCHES:
        yield f"/admin/{page}/?q={_found(ask, query)}"
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
        yield from (f"{row}{page}/" for page in ("change", "history"))
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
