"""Read and judge the environment: every fault is collected, then named in one message.

The readers return a usable value even after a fault, so that one pass over the settings
finds all faults at once; `Environment.finish()` raises if there was any.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from glisk.config.addresses import is_miscased, to_checksum_address
from glisk.config.env_file import ConfigurationError
from glisk.config.formats import MISREADABLE, is_http_url
from glisk.config.keys import DEVELOPMENT_ADDRESSES, KeyFile, judge_apart, judge_form, judge_key

__all__ = ["REQUIRED", "ConfigurationError", "Environment", "Variable"]

N = TypeVar("N", int, float)

REQUIRED: Any = object()
# Plain digits and one point: `int` and `float` take `1_000`, `1e2` and other scripts as well.
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_FLAGS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)
# PINATA_KEY is like PINATA_API_KEY, HOSTNAME is not like HOST.
_LIKE_OURS = 0.82
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class Variable(NamedTuple):
    """What a setting asks of a variable: a kind in words, and what it is where it is not set."""

    wanted: str
    default: Any


class Environment:
    """A reader of variables that collects faults, which echo no value; an empty one is not set.

    What was asked for is kept in `asked`, for the reference and for names that nothing reads.

    What was read as a secret is kept in `secrets`, by the names of the variables. Each of
    `secret_names` may stand in a file instead, which `<name>_FILE` names.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._values = {name: value.strip() for name, value in variables.items()}
        self._given_as: dict[str, str] = {}
        self.faults: list[str] = []
        self.asked: dict[str, Variable] = {}
        self.secrets: list[tuple[str, str]] = []
        self.secret_names: set[str] = set()
        self._unreadable: set[str] = set()  # their files
        self._public_files: set[str] = set()

    def also(self, other: str, name: str) -> None:
        """Let a variable be given under another name, too; its own, or its file's, wins."""
        self.asked[other] = Variable(f"another name of {name}", "")
        if self._values.get(other) and not any(map(self._values.get, (name, f"{name}_FILE"))):
            self._values[name] = self._values[other]
            self._given_as[name] = other

    def fault(self, name: str, problem: str) -> None:
        if name in self._unreadable:
            return  # what else is wrong comes of it
        self.faults.append(f"{self._given_as.get(name, name)}: {problem}")

    def finish(self) -> None:
        """Raise `ConfigurationError` naming every fault that was found."""
        faults = sorted(set(self.faults))
        required = [name for name, asked in self.asked.items() if asked.default is REQUIRED]
        if faults and required and not any(self._values.get(name) for name in required):
            names = ", ".join(dict.fromkeys(fault.partition(":")[0] for fault in faults))
            raise ConfigurationError(
                f"Nothing is configured: {names} are needed. For the local sandbox: "
                "cp .env.example .env; for real use fill in what it explains."
            )
        if faults:
            lines = "\n".join(f"  - {fault}" for fault in faults)
            raise ConfigurationError(
                f"The environment has {len(faults)} fault(s):\n{lines}\n"
                "Mend them in the environment or in the .env file; .env.example explains each."
            )

    def misnamed(self) -> dict[str, str]:
        """Return the variables that nothing reads and that look like ours, with what was meant."""
        found = {}
        for name in sorted(self._values):
            is_file = name.endswith("_FILE") and name.removesuffix("_FILE") in self.secret_names
            if name not in self.asked and not is_file:
                for meant in difflib.get_close_matches(name.upper(), self.asked, 1, _LIKE_OURS):
                    if _begin_alike(name.upper(), meant):
                        found[name] = meant
        return found

    def refuse_published(self, *, example: Path) -> None:
        """Make each secret a fault that stands in the example, or is a key that everybody has."""
        text = example.read_text(encoding="utf-8") if example.is_file() else ""
        published = {_comparable(word) for word in re.split(r"[\s,=`]+", text)}
        public = {
            name
            for name, secret in self.secrets
            if secret and (_comparable(secret) in published or judge_key(secret).is_public)
        }
        for name in public | self._public_files:
            self.fault(name, "is public: it stands in GLISK's repository; give your own")

    def text(
        self,
        name: str,
        default: str = REQUIRED,
        *,
        wanted: str = "a text",
        min_length: int = 0,
        max_length: int = 1_000_000,
    ) -> str:
        self.asked.setdefault(name, Variable(wanted, default))
        value = self._values.get(name, "")
        if not value:
            if default is REQUIRED:
                self.fault(name, f"is not set; it must be {wanted}")
                return ""
            return default
        if len(value) < min_length:
            self.fault(name, f"has {len(value)} characters; at least {min_length} are needed")
        if len(value) > max_length:
            self.fault(name, f"has {len(value)} characters; at most {max_length} are allowed")
        return value

    def texts(
        self,
        name: str,
        default: list[str] = REQUIRED,
        *,
        wanted: str = "texts",
        each: Callable[[str], object] = bool,
    ) -> list[str]:
        """A comma-separated list; entries that `each` refuses are faults, told by number only."""
        wanted = f"a comma-separated list of {wanted}"
        self.asked[name] = Variable(wanted, default)
        unset: Any = default if default is REQUIRED else ""
        given = self.text(name, unset, wanted=wanted)
        if not given:
            return [] if default is REQUIRED else default
        values = [part.strip() for part in given.split(",") if part.strip()]
        wrong = [str(number) for number, value in enumerate(values, 1) if not each(value)]
        if wrong or not values:
            self.fault(name, f"is not {wanted} (look at entry {', '.join(wrong) or '1'})")
        return values

    def secret(self, name: str, default: str = REQUIRED, **limits: Any) -> str:
        """Read a text that nobody else may know; the limits are those of `text`."""
        self._take_from_file(name)
        value = self.text(name, default, **limits)
        self.secrets.append((name, value))
        return value

    def secret_texts(self, name: str, default: list[str] = REQUIRED, **limits: Any) -> list[str]:
        """Read a list of secrets; the limits are those of `texts`."""
        self._take_from_file(name)
        values = self.texts(name, default, **limits)
        self.secrets += [(name, value) for value in values]
        return values

    def flag(self, name: str, default: bool) -> bool:
        self.asked[name] = Variable("true or false", default)
        given = self.text(name, "").lower()
        if given and given not in _FLAGS:
            self.fault(name, "is not true or false")
        return _FLAGS.get(given, default)

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        wanted = f"a whole number from {low} to {high}"
        return self._within(name, default, int, _WHOLE, low, high, wanted)

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        wanted = f"a number from {_plain(low)} to {_plain(high)} (digits and one point, as 1.25)"
        return self._within(name, default, float, _DECIMAL, low, high, wanted)

    def _within(
        self,
        name: str,
        default: N,
        kind: Callable[[str], N],
        form: re.Pattern[str],
        low: N,
        high: N,
        wanted: str,
    ) -> N:
        self.asked[name] = Variable(wanted, default)
        given = self.text(name, "")
        if not given:
            return default
        if form is _DECIMAL and MISREADABLE.fullmatch(given):
            self.fault(
                name, "has three digits after the point, which some read as thousands: write 1.25"
            )
            return default
        if not form.fullmatch(given) or not low <= (value := kind(given)) <= high:
            self.fault(name, f"is not {wanted}")
            return default
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        wanted = f"one of {', '.join(choices)}"
        value = self.text(name, default, wanted=wanted)
        if value and value not in choices:
            self.fault(name, f"is not {wanted}")
            return "" if default is REQUIRED else default
        return value

    def address(self, name: str, default: str = REQUIRED, *, is_real: bool = False) -> str:
        """An Ethereum address, returned with its EIP-55 checksum.

        `is_real`: it is of a real network, so not one whose key everybody has.
        """
        wanted = "an Ethereum address (0x and 40 hex digits)"
        value = self.text(name, default, wanted=wanted)
        if not value:
            return value
        if not _ADDRESS.fullmatch(value):
            self.fault(name, f"is not {wanted}")
            return value
        address = to_checksum_address(value)
        if is_miscased(value):
            self.fault(name, "has a wrong EIP-55 checksum; look for a mistyped character")
        elif is_real and address in DEVELOPMENT_ADDRESSES:
            self.fault(name, "is an account of every local test node: its private key is public")
        return address

    def private_key(self, name: str, *, needed: bool) -> tuple[str, KeyFile]:
        """Read a 32-byte private key in hex, or have the file in `<name>_FILE` judged.

        Returns the key, and its file with its address. A process that does not need the key gets
        neither, and reads no file; a senseless key is a fault there, too. Of a file's key nothing
        gets into this process (`judge_apart`).
        """
        file_name = f"{name}_FILE"
        self.secret_names.add(name)
        value, path = self.text(name, ""), self.text(file_name, "")
        if value and path:
            self.fault(name, f"is set as well as {file_name}; keep one of them")
        elif needed and not value and not path:
            self.fault(name, f"is not set; give the key or, better, its file as {file_name}")
        if bool(value) == bool(path) or (path and not needed):
            return "", KeyFile()
        if path:
            judged, given_as = judge_apart(path), file_name
        else:
            judged, given_as = (judge_key if needed else judge_form)(value), name
        if judged.problem:
            self.fault(given_as, judged.problem)
        elif value:
            value = "0x" + value.lower().removeprefix("0x")
            self.secrets.append((name, value))
        elif judged.is_public:
            self._public_files.add(file_name)
        if judged.problem or not needed:
            return "", KeyFile()
        return value, KeyFile(path, judged.address)

    def key_in_reach(self, name: str) -> bool:
        """Tell whether this process could read a private key, needed or not."""
        path = self.text(f"{name}_FILE", "")
        return bool(self.text(name, "")) or bool(path and os.access(path, os.R_OK))

    def _take_from_file(self, name: str) -> None:
        """Let a secret stand in the file that `<name>_FILE` names; faults name that variable."""
        self.secret_names.add(name)
        file_name = f"{name}_FILE"
        path = self._values.get(file_name, "")
        if not path:
            return
        if self._values.get(name):
            self.fault(name, f"is set as well as {file_name}; keep one of them")
            return
        self._given_as[name] = file_name
        try:
            self._values[name] = Path(path).read_text(encoding="utf-8").strip()
            problem = "" if self._values[name] else "is an empty file"
        except (OSError, UnicodeDecodeError) as error:
            problem = f"cannot be read ({getattr(error, 'strerror', '') or 'it is not UTF-8'})"
        if problem:
            self.fault(name, problem)
            self._unreadable.add(name)

    def url(self, name: str, default: str = REQUIRED) -> str:
        """An HTTP URL, returned without a trailing slash."""
        value = self.text(name, default, wanted="a URL (http or https)")
        if value and not is_http_url(value):
            self.fault(name, "is not a URL (http or https)")
        return value.rstrip("/")

    def secret_url(self, name: str, default: str = REQUIRED) -> str:
        """Read an HTTP URL that may hold a key, as nodes' do; logs show its host."""
        self._take_from_file(name)
        return self.url(name, default)

    def database_url(self, name: str) -> str:
        """A PostgreSQL URL, or empty."""
        self._take_from_file(name)
        value = self.text(name, "", wanted="a URL (postgres://user:password@host:5432/name)")
        try:
            parts = urlsplit(value)
            valid = parts.scheme in ("postgres", "postgresql") and len(parts.path) > 1
            _ = parts.port
        except ValueError:
            valid = False
        if value and not valid:
            self.fault(name, "is not a database URL (postgres://user:password@host:5432/name)")
        return value


def _begin_alike(name: str, other: str) -> bool:
    """Tell a slip of the fingers from another program's variable (OPENAI_API_KEY, API_URL)."""
    first, other_first = name.partition("_")[0], other.partition("_")[0]
    alike = difflib.SequenceMatcher(None, first, other_first).ratio() >= _LIKE_OURS
    return alike or name.replace("_", "") == other.replace("_", "")


def _plain(number: float) -> str:
    return format(Decimal(str(number)), "f")  # no exponent: it would not be taken


def _comparable(secret: str) -> str:
    return secret.lower().removeprefix("0x")  # of the forms that a hex key may have
