"""Every secret may stand in a file: `<name>_FILE` is its path, by rule and not by a list."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from glisk.config import Environment
from glisk.tests.environments import EXAMPLE, NO_DATABASE, complaint, read_settings, start
from glisk.tests.test_env_example import documented

# What such a variable is called. Of the second group none is secret.
SECRET = re.compile(r"_(KEY|SECRET|TOKEN|JWT|PASSWORD)$|^(ALERT_URLS|HEARTBEAT_URL)$|RPC_URL$")
HARMLESS = {"ENABLE_REVEAL_WORKER"}
READERS = {
    "secret": "whsec_0123456789",
    "secret_texts": "whsec_0123456789",
    "secret_url": "https://node.example/v2/key",
    "database_url": "postgres://glisk:password@db/glisk",
}


def secret_names() -> set[str]:
    from glisk.settings.processes import env

    return env.secret_names


def test_what_is_called_a_secret_is_read_as_one() -> None:
    assert settings.SECRET_KEY  # the settings are read
    named = {name for name in documented() if SECRET.search(name)} - HARMLESS
    assert named <= secret_names()
    assert {"SECRET_KEY", "DATABASE_URL", "RPC_URL", "KEEPER_PRIVATE_KEY"} <= secret_names()


@pytest.mark.parametrize("reader", READERS)
def test_a_secret_is_read_from_its_file(reader: str, tmp_path: Path) -> None:
    value, path = READERS[reader], tmp_path / "secret"
    path.write_text(value + "\n")
    environment = Environment({"NAME_FILE": str(path)})
    found = getattr(environment, reader)("NAME")
    assert found == ([value] if reader == "secret_texts" else value)
    assert environment.faults == []
    if "url" not in reader:  # then no log shows it
        assert environment.secrets == [("NAME", value)]


@pytest.mark.parametrize("reader", READERS)
def test_what_is_wrong_with_a_file_is_one_fault_that_tells_no_value(
    reader: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(READERS[reader])
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for given, fault in (
        ({"NAME": "hush", "NAME_FILE": "secret"}, "NAME: is set as well as NAME_FILE"),
        ({"NAME_FILE": "nowhere"}, "NAME_FILE: cannot be read (No such file"),
        ({"NAME_FILE": "."}, "NAME_FILE: cannot be read (Is a directory"),
        ({"NAME_FILE": "binary"}, "NAME_FILE: cannot be read (it is not UTF-8"),
        ({"NAME_FILE": "empty"}, "NAME_FILE: is an empty file"),
    ):
        paths = {n: str(tmp_path / v) if n == "NAME_FILE" else v for n, v in given.items()}
        environment = Environment(paths)
        getattr(environment, reader)("NAME")
        told = [each for each in environment.faults if "whsec" not in each]
        if "NAME" in given:  # its own value is judged besides
            told = told[:1]
        assert len(told) == 1, told
        assert told[0].startswith(fault)
        assert READERS[reader] not in told[0]


@pytest.mark.process
def test_the_settings_take_all_secrets_from_files(tmp_path: Path) -> None:
    """As of .env.example; and a senseless one is named by the variable of its file."""
    given = {**EXAMPLE, **NO_DATABASE, "SELFHOSTED_IMAGE_API_TOKEN": "a-proxy-in-front"}
    names = {name for name in secret_names() if given.get(name)} - {"KEEPER_PRIVATE_KEY"}
    for name in names:
        (tmp_path / name).write_text(given[name] + "\n")
        given |= {name: "", f"{name}_FILE": str(tmp_path / name)}
    said, values = read_settings(given, "SECRET_KEY", "PINATA_JWT", "RPC_URL", "DATABASES")
    assert said == ""
    assert values["SECRET_KEY"] == EXAMPLE["SECRET_KEY"]
    assert values["PINATA_JWT"] == EXAMPLE["PINATA_JWT"]
    assert values["RPC_URL"] == EXAMPLE["RPC_URL"]
    assert values["DATABASES"]["default"]["NAME"] == "none"
    (tmp_path / "SECRET_KEY").write_text("hush, too short")
    said = complaint(given)
    assert "  - SECRET_KEY_FILE: has 15 characters; at least 50 are needed" in said
    assert "hush" not in said


@pytest.mark.process
def test_no_log_shows_the_key_in_a_nodes_url() -> None:
    key = "0123456789abcdef0123456789abcdef"
    program = (
        "import glisk.settings, sys; from glisk.logging.redaction import redact_text; "
        f"sys.stdout.write(redact_text('asked https://mainnet.infura.io/v3/{key}'))"
    )
    given = {**EXAMPLE, **NO_DATABASE, "RPC_URL": f"https://mainnet.infura.io/v3/{key}"}
    done = start(given, ("-c", program))
    assert done.stdout == "asked https://mainnet.infura.io/v3/[redacted]", done.stderr
