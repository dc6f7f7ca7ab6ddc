"""A faulty environment stops every start with one message that names every fault."""

import os
import re
import socket
from pathlib import Path

import pytest

from glisk.config import Environment
from glisk.config.env_file import read_env_file, read_environment
from glisk.config.formats import is_model_price, is_price
from glisk.config.keys import KeyFile, judge_key
from glisk.tests.environments import (
    EXAMPLE,
    GUNICORN,
    NO_DATABASE,
    PRODUCTION,
    WORKER,
    complaint,
    faults,
    read_settings,
    start,
)
from glisk.tests.test_wrong_settings import KEY, ORDER
from sandbox.accounts import KEEPER

# Without our gunicorn.conf.py, as somebody else's server would load the application.
BARE_GUNICORN = ("-m", "gunicorn", "-c", "python:glisk", "--no-control-socket", "glisk.wsgi")


@pytest.mark.process
@pytest.mark.parametrize(("command", "status"), [(WORKER, 1), (GUNICORN, 1), (BARE_GUNICORN, 3)])
def test_every_process_says_it_once_and_ends(command: tuple[str, ...], status: int) -> None:
    done = start({**EXAMPLE, "PORT": "0", "KEEPER_PRIVATE_KEY": "x"}, command)
    assert done.returncode == status
    assert done.stderr.count("The environment has 2 fault(s)") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.process
def test_a_port_that_is_taken_is_said_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start({**EXAMPLE, **NO_DATABASE, "PORT": str(port)}, GUNICORN)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "Starting gunicorn" not in line]
    assert len(said) == 1
    assert f"127.0.0.1:{port} cannot be opened: another program has this port" in said[0]
    assert "PORT in .env" in said[0]


@pytest.mark.process
def test_the_example_and_the_production_sample_are_without_fault() -> None:
    assert faults({}) == []
    assert complaint(PRODUCTION) == ""


@pytest.mark.process
def test_an_empty_environment_names_everything_that_is_required() -> None:
    said = complaint({}, WORKER)
    required = (
        "SECRET_KEY NETWORK RPC_URL GLISK_NFT_CONTRACT_ADDRESS GLISK_DEFAULT_AUTHOR_WALLET "
        "DEFAULT_PROMPT REPLICATE_API_TOKEN PINATA_JWT PINATA_GATEWAY KEEPER_PRIVATE_KEY"
    )
    for name in required.split():
        assert len(re.findall(rf"\b{name}\b", said)) == 1
    assert said.count("\n") == 0
    assert "cp .env.example .env" in said
    # One of them is enough for a line each.
    assert "  - SECRET_KEY: is not set" in complaint({"NETWORK": "LOCAL"}, WORKER)


@pytest.mark.process
def test_what_does_not_fit_together_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("not a key")
    file, none = str(tmp_path / "key"), str(tmp_path / "none")
    mine = "0x1f9090aaE28b8a3dCeaDf281B0F12828e676c326"
    for changes, fault in (
        (
            {"KEEPER_PRIVATE_KEY": KEY, "KEEPER_PRIVATE_KEY_FILE": file},
            "KEEPER_PRIVATE_KEY: is set as well as KEEPER_PRIVATE_KEY_FILE; keep one of them",
        ),
        (
            {"KEEPER_PRIVATE_KEY": "", "KEEPER_PRIVATE_KEY_FILE": none},
            "KEEPER_PRIVATE_KEY_FILE: cannot be read",
        ),
        (
            {"KEEPER_PRIVATE_KEY": "", "KEEPER_PRIVATE_KEY_FILE": file},
            "KEEPER_PRIVATE_KEY_FILE: is not a private key",
        ),
        ({"KEEPER_ADDRESS": mine}, "KEEPER_ADDRESS: is not the address of"),
    ):
        found = [line for line in faults(changes, WORKER) if "public" not in line]
        assert len(found) == 1
        assert found[0].startswith(fault)
    sound = {"NETWORK": "BASE_MAINNET", "REVEAL_MAX_GAS_PRICE_GWEI": "0.02"}
    assert all("public" in line for line in faults(sound, WORKER))
    assert faults({"KEEPER_ADDRESS": KEEPER.address}, WORKER) == []


@pytest.mark.process
def test_other_faults_of_the_environment_are_one_message_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no line\n")
    for name, changes in {
        "none.env": {"GLISK_ENV_FILE": str(tmp_path / "none.env")},
        f"Line 1 of {tmp_path / 'file'} is not NAME=value": {
            "GLISK_ENV_FILE": str(tmp_path / "file")
        },
        "embedded PostgreSQL": {
            **EXAMPLE,
            "DATABASE_URL": "",
            "EMBEDDED_DATABASE_DIR": str(tmp_path / "file" / "database"),
        },
    }.items():
        assert name in complaint(changes)


def test_the_process_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file.env").write_text("GLISK_A=file\nGLISK_B=file\n# GLISK_C=none\n")
    monkeypatch.delenv("GLISK_ENV_FILE")
    monkeypatch.setenv("GLISK_B", "process")
    variables = read_environment(tmp_path / "file.env")
    assert (variables["GLISK_A"], variables["GLISK_B"]) == ("file", "process")
    assert "GLISK_C" not in variables
    assert "GLISK_A" not in os.environ
    monkeypatch.setenv("GLISK_ENV_FILE", "")  # means no file
    assert "GLISK_A" not in read_environment(tmp_path / "file.env")


def read(reader: str, value: str, *arguments: object, **options: object) -> tuple[object, int]:
    """Read one variable; return the value and the number of faults."""
    environment = Environment({"NAME": value})
    result = getattr(environment, reader)("NAME", *arguments, **options)
    return result, len(environment.faults)


def test_addresses_are_judged_by_their_checksum() -> None:
    address = "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"
    for form in (address, address.lower(), "0x" + address[2:].upper()):
        assert read("address", form) == (address, 0)
    for wrong in (address[:-1] + "6", address[:-1], address[2:], "0xg" + address[3:]):
        assert read("address", wrong)[1] == 1


def test_private_keys_are_judged_by_length_and_range() -> None:
    for key in (KEY, "0x" + KEY.upper(), ORDER[:-1] + "0"):
        plain = "0x" + key.lower().removeprefix("0x")
        known = KeyFile(address=judge_key(key).address)
        assert read("private_key", key, needed=True) == ((plain, known), 0)
    for wrong in (KEY + "0", "0" * 64, ORDER, "zz" + KEY[2:]):
        assert read("private_key", wrong, needed=True) == (("", KeyFile()), 1)


NOT_A_NUMBER = [
    "1.2 # 20 %", "10,000", "1e2", "abc5", "5abc", "1_000", "1.2.3", "1 000", "0x10", "1,5",
    "+ 5", "٣", "½", "--1", ".", "1.", ".5", "nan", "inf", "$5", "1.2; 3",
]  # fmt: skip


def test_what_is_no_number_is_a_fault_and_never_half_read() -> None:
    for value in NOT_A_NUMBER:
        assert read("number", value, 7.5, low=0, high=100_000) == (7.5, 1)
        assert read("integer", value, 7, low=0, high=100_000) == (7, 1)
    # One or a thousand?
    for value in ("1.000", "12.500", "-1.234"):
        assert read("number", value, 7.5, low=-5000, high=100_000) == (7.5, 1)
    for value, number in {
        " 1.25 ": 1.25,
        "0.005": 0.005,
        "1.0000": 1.0,
        "1234.567": 1234.567,
    }.items():
        assert read("number", value, 0, low=0, high=10_000) == (number, 0)
    assert read("integer", "010", 0, low=0, high=1000) == (10, 0)
    assert read("integer", "-3", 0, low=-5, high=5) == (-3, 0)


ENV_FILE = {
    "# a comment": {},
    "A=1.2 # 20 %": {"A": "1.2"},
    "A=abc#def": {"A": "abc#def"},
    'A="a # b" # c': {"A": "a # b"},
    "A='it # stays'": {"A": "it # stays"},
    "A= # nothing": {"A": ""},
    "export A=yes\t# really": {"A": "yes"},
    'A="half': {"A": '"half'},
    "A=#5": {"A": "#5"},
    "A=$HOME": {"A": "$HOME"},
    "A=1\nB=2\nA=3": {"A": "3", "B": "2"},
}


def test_a_comment_in_an_env_file_begins_after_a_blank(tmp_path: Path) -> None:
    path = tmp_path / "file.env"
    for text, values in ENV_FILE.items():
        path.write_text(text)
        assert read_env_file(path) == values


def test_prices_are_judged_like_numbers() -> None:
    for price in ("0", "0.003", "0.000725/s", "12.5", "100/s"):
        assert is_price(price)
        assert is_model_price(f"owner/name = {price}")
    wrong_ones = [
        "",
        "0,003",
        "1.000",
        "1.000/s",
        "1e-3",
        "1_0",
        "$1",
        "٣",
        "-1",
        "1.",
        "0.003 / s",
    ]
    for wrong in wrong_ones:
        assert not is_price(wrong)
    for wrong in ("0.003", "=0.003", "owner/name=", "owner/name"):
        assert not is_model_price(wrong)


FOREIGN = """
PATH HOME USER HOSTNAME LOGNAME SHELL LANG LC_ALL PWD TERM MAIL TZ CI VIRTUAL_ENV DEBUG
POSTGRES_PASSWORD POSTGRES_USER POSTGRES_DB PUBLISH COMPOSE_PROJECT_NAME HTTP_PROXY no_proxy
WEB_CONCURRENCY GUNICORN_CMD_ARGS AWS_SECRET_ACCESS_KEY KUBERNETES_PORT GLISK_SERVICE_HOST
GLISK_PORT_8000_TCP GLISK_ENV_FILE DJANGO_SETTINGS_MODULE PGHOST SECRET_KEY_FILE
OPENAI_API_KEY API_URL
"""


def test_names_that_nothing_reads_are_told_with_the_name_that_was_meant() -> None:
    ours = {"WORKER_BATCHSIZE": "WORKER_BATCH_SIZE", "LOGLEVEL": "LOG_LEVEL", "port": "PORT"}
    foreign = FOREIGN.split()
    environment = Environment({**ours, **dict.fromkeys(foreign, "1"), "WORKER_BATCH_SIZE": "5"})
    others = ("HOST", "OPENSEA_API_KEY", "X_API_URL", "DB_POOL_SIZE", "WEB_WORKERS", "APP_ENV")
    for name in (*ours.values(), *others):
        environment.text(name, "")
    environment.secret("SECRET_KEY", "")
    assert environment.misnamed() == ours


def test_flags_and_texts_are_read() -> None:
    for value in ("1", "true", "YES", "on"):
        assert read("flag", value, False) == (True, 0)
    for value in ("0", "False", "no", "off"):
        assert read("flag", value, True) == (False, 0)
    for value in ("$HOME", r"a\$b", "pa$$word", "$"):  # a dollar names no other variable
        assert read("text", value) == (value, 0)


def test_urls_are_judged_and_lose_a_trailing_slash() -> None:
    for url in ("https://host", "https://user:pass@host:8443/path?x=1", "https://[::1]:80"):
        assert read("url", url) == read("url", url + "/") == (url, 0)
    for wrong in ("host:8545", "https://host:99999", "https://", "http://[::1", "wss://host"):
        assert read("url", wrong)[1] == 1


@pytest.mark.process
def test_the_task_queue_outwaits_the_longest_call_of_a_drain_that_ends() -> None:
    """Else it kills the worker, and with it what all the others are doing."""
    given = {
        **EXAMPLE,
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
        "DRAIN_BUDGET_SECONDS": "60",
        "GENERATION_TIMEOUT_SECONDS": "1800",
        "SELFHOSTED_IMAGE_API_URL": "http://127.0.0.1:5000",
    }
    _, values = read_settings(given, "Q_CLUSTER")
    assert values["Q_CLUSTER"]["timeout"] > 60 + 1800
