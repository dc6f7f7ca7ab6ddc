"""A world whose database holds years of work, and an operator who may see all of it."""

from __future__ import annotations

import re
import subprocess
import sys

import psycopg
import requests

from benchmarks.big_database import AUTHORS, REVEALS, TOKENS
from sandbox.world import BASE_DIR, World

OPERATOR = "operator"
_PASSWORD = "only for this measurement"
_CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
_SHARE = 10  # one mint in so many is by the author, and one by the minter, of most tokens
_FILL_SECONDS = 1800
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


def fill(world: World, tokens: int) -> None:
    """Fill the database, or bring a kept one up to date; raise RuntimeError if its size differs."""
    mark = world.directory / "tokens"
    is_filled = mark.exists()
    if is_filled and mark.read_text() != str(tokens):
        raise RuntimeError(f"{world.directory} holds {mark.read_text()} tokens")
    world.manage("migrate", "--verbosity", "0")
    if is_filled:
        return
    share = tokens / TOKENS
    subprocess.run(
        [
            sys.executable, "-m", "benchmarks.big_database",
            "--tokens", str(tokens),
            "--authors", str(max(10, round(AUTHORS * share))),
            "--reveals", str(max(10, round(REVEALS * share))),
        ],
        cwd=BASE_DIR,
        env=world.env,
        check=True,
        timeout=_FILL_SECONDS,
        stdout=sys.stderr,
    )  # fmt: skip
    world.manage(
        "createsuperuser",
        "--noinput",
        f"--username={OPERATOR}",
        "--email=operator@example.org",
        DJANGO_SUPERUSER_PASSWORD=_PASSWORD,
    )
    with psycopg.connect(world.database_url(), autocommit=True) as database:
        add_operators_work(database)
    mark.write_text(str(tokens))


def add_operators_work(database: psycopg.Connection) -> None:
    """Add what operators left behind, and give one author and one minter a tenth of the tokens."""
    for statement in _OPERATORS_WORK:
        database.execute(statement.encode())


def sign_in(world: World) -> requests.Session:
    """Return the operator's session. Raises RuntimeError if the login page does not let in."""
    session = requests.Session()
    address = world.ports.url("web") + "/admin/login/"
    answer = session.post(
        address,
        {
            "username": OPERATOR,
            "password": _PASSWORD,
            "csrfmiddlewaretoken": csrf_token(session, address),
        },
        allow_redirects=False,
        timeout=30,
    )
    if answer.status_code != 302:
        raise RuntimeError(f"signing in was answered with {answer.status_code}")
    return session


def csrf_token(session: requests.Session, address: str) -> str:
    """Return the token of a page's form. Raises RuntimeError if there is none."""
    form = _CSRF.search(session.get(address, timeout=60).text)
    if form is None:
        raise RuntimeError(f"{address} has no form")
    return form[1]
