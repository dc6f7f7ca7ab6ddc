"""Read and judge the environment: every fault is collected, then named in one message.

The readers return a usable value even after a fault, so that one pass over the settings
finds all faults at once; `Environment.finish()` raises if there was any.
"""

from __future__ import annotations

import base64
import binascii
import io
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from glisk.config.development_accounts import (
    SECP256K1_ORDER,
    development_addresses,
    is_development_key,
)

N = TypeVar("N", int, float)

REQUIRED: Any = object()
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?"
)
# Plain digits and one point: `int` and `float` take `1_000`, `1e2` and other scripts as well.
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_FLAGS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)
_LINE = re.compile(r"((?:export )?[A-Za-z_][A-Za-z0-9_]*)=(.*)")
_QUOTED = re.compile(r"""((['"]).*?\2)(?:\s+#.*)?""")
_COMMENT = re.compile(r"\s#.*")
_HEX_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class ConfigurationError(ImproperlyConfigured):
    """The environment is faulty; the message names every fault."""


class Environment:
    """A reader of variables that collects faults, which echo no value; an empty one is not set.

    What was read as a secret is kept in `secrets`, by the names of the variables.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._values = {name: value.strip() for name, value in variables.items()}
        self._given_as: dict[str, str] = {}
        self.faults: list[str] = []
        self.secrets: list[tuple[str, str]] = []

    def also(self, other: str, name: str) -> None:
        """Let a variable be given under another name, too; its own wins where both are set."""
        if self._values.get(other) and not self._values.get(name):
            self._values[name] = self._values[other]
            self._given_as[name] = other

    def fault(self, name: str, problem: str) -> None:
        self.faults.append(f"{self._given_as.get(name, name)}: {problem}")

    def finish(self) -> None:
        """Raise `ConfigurationError` naming every fault that was found."""
        faults = sorted(set(self.faults))
        if faults:
            lines = "\n".join(f"  - {fault}" for fault in faults)
            raise ConfigurationError(
                f"The environment has {len(faults)} fault(s):\n{lines}\n"
                "Mend them in the environment or in the .env file; .env.example explains each."
            )

    def refuse_published(self, *, example: Path) -> None:
        """Make each secret a fault that stands in the example, or is a key that everybody has."""
        text = example.read_text(encoding="utf-8") if example.is_file() else ""
        published = {_comparable(word) for word in re.split(r"[\s,=`]+", text)}
        for name, secret in self.secrets:
            if secret and (_comparable(secret) in published or is_development_key(secret)):
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
        value = self.text(name, default, **limits)
        self.secrets.append((name, value))
        return value

    def secret_texts(self, name: str, default: list[str] = REQUIRED, **limits: Any) -> list[str]:
        """Read a list of secrets; the limits are those of `texts`."""
        values = self.texts(name, default, **limits)
        self.secrets += [(name, value) for value in values]
        return values

    def flag(self, name: str, default: bool) -> bool:
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
        given = self.text(name, "")
        if not given:
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

    def address(self, name: str, default: str = REQUIRED) -> str:
        """An Ethereum address, returned with its EIP-55 checksum."""
        from eth_utils.address import is_checksum_address, to_checksum_address

        wanted = "an Ethereum address (0x and 40 hex digits)"
        value = self.text(name, default, wanted=wanted)
        if not value:
            return value
        if not _ADDRESS.fullmatch(value):
            self.fault(name, f"is not {wanted}")
            return value
        digits = value[2:]
        mixed_case = digits != digits.lower() and digits != digits.upper()
        if mixed_case and not is_checksum_address(value):
            self.fault(name, "has a wrong EIP-55 checksum; look for a mistyped character")
        return str(to_checksum_address(value))

    def account(self, name: str, default: str = REQUIRED, *, is_real: bool) -> str:
        """Read the address of somebody; on a real network not one whose key everybody has."""
        value = self.address(name, default)
        if is_real and value in development_addresses():
            self.fault(name, "is an account of every local test node: its private key is public")
        return value

    def private_key(self, name: str, *, needed: bool) -> str:
        """Read a 32-byte private key in hex, or the file in `<name>_FILE`.

        A process that does not need it gets nothing, and reads no file; a senseless key is a
        fault there, too.
        """
        file_name = f"{name}_FILE"
        value, path = self.text(name, ""), self.text(file_name, "")
        if value and path:
            self.fault(name, f"is set as well as {file_name}; keep one of them")
        elif path and needed:
            name = file_name
            try:
                value = Path(path).read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError):
                self.fault(name, "cannot be read")
                return ""
        if not value:
            if needed:
                self.fault(name, f"is not set; give the key or, better, its file as {file_name}")
            return ""
        if not _HEX_KEY.fullmatch(value) or not 0 < int(value, 16) < SECP256K1_ORDER:
            self.fault(name, "is not a private key (64 hex digits, in the range of secp256k1)")
            return ""
        value = "0x" + value.lower().removeprefix("0x")
        self.secrets.append((name, value))
        return value if needed else ""

    def key_in_reach(self, name: str) -> bool:
        """Tell whether this process could read a private key, needed or not."""
        path = self.text(f"{name}_FILE", "")
        return bool(self.text(name, "")) or bool(path and os.access(path, os.R_OK))

    def url(self, name: str, default: str = REQUIRED) -> str:
        """An HTTP URL, returned without a trailing slash."""
        value = self.text(name, default, wanted="a URL (http or https)")
        if value and not is_http_url(value):
            self.fault(name, "is not a URL (http or https)")
        return value.rstrip("/")

    def database_url(self, name: str) -> str:
        """A PostgreSQL URL, or empty."""
        value = self.text(name, "")
        try:
            parts = urlsplit(value)
            valid = parts.scheme in ("postgres", "postgresql") and len(parts.path) > 1
            _ = parts.port
        except ValueError:
            valid = False
        if value and not valid:
            self.fault(name, "is not a database URL (postgres://user:password@host:5432/name)")
        return value


def _plain(number: float) -> str:
    return format(Decimal(str(number)), "f")  # no exponent: it would not be taken


def _comparable(secret: str) -> str:
    return secret.lower().removeprefix("0x")  # of the forms that a hex key may have


def is_host_name(value: str) -> bool:
    return _HOST_NAME.fullmatch(value) is not None


def is_allowed_host(value: str) -> bool:
    """Tell whether Django's ALLOWED_HOSTS may hold this: no scheme, no port."""
    bracketed = value.startswith("[") and value.endswith("]") and ":" in value
    return value == "*" or bracketed or is_host_name(value.removeprefix("."))


def is_host_pattern(value: str) -> bool:
    """Tell whether this names a host, all hosts below one (`*.name`), or one port of a host."""
    host, colon, port = value.removeprefix("*.").partition(":")
    return is_host_name(host) and (not colon or port.isdigit())


def is_network(value: str) -> bool:
    """Tell whether this is an IP address or a network, but not the network of all addresses."""
    try:
        return ipaddress.ip_network(value).prefixlen > 0
    except ValueError:
        return False


def is_http_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_fits


def is_origin(value: str) -> bool:
    return is_http_url(value) and value.count("/") == 2 and "?" not in value


def is_gateway(value: str) -> bool:
    return is_http_url(value) or is_host_pattern(value)


def is_svix_secret(value: str) -> bool:
    """Tell whether this is a signing key as Replicate gives it: whsec_ and base64."""
    if not value.startswith("whsec_"):
        return False
    try:
        return len(base64.b64decode(value.removeprefix("whsec_"), validate=True)) >= 16
    except binascii.Error:
        return False


def read_env_file(env_file: Path) -> dict[str, str]:
    """Return the values of a .env file; the process environment stays as it is.

    A line is `NAME=value`, blank, or a comment. ` #` begins a comment after a value as well, but
    within quotes (to django-environ any # does, which may stand in a password).

    Raises:
        ConfigurationError: there is no such file, it cannot be read, or a line is neither.
    """

    class FileEnv(environ.Env):  # django-environ reads into its class's environment
        ENVIRON: dict[str, str] = {}

    try:
        lines = env_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"The .env file {env_file} (GLISK_ENV_FILE) cannot be read: {reason}"
        ) from error
    plain = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ConfigurationError(f"Line {number} of {env_file} is not NAME=value.")
        quoted = _QUOTED.fullmatch(found[2].strip())
        value = quoted[1] if quoted else _COMMENT.sub("", found[2]).strip()
        plain.append(f"{found[1]}={value}")
    FileEnv.read_env(io.StringIO("\n".join(plain)))
    return dict(FileEnv.ENVIRON)


def read_environment(default_file: Path) -> dict[str, str]:
    """Return the process environment over the values of a .env file.

    The file is `default_file` if that exists, or the one that GLISK_ENV_FILE names, which must
    exist; empty means none.
    """
    given = os.environ.get("GLISK_ENV_FILE", str(default_file) if default_file.is_file() else "")
    return {**(read_env_file(Path(given)) if given else {}), **os.environ}
