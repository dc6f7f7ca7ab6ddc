"""Sign-in messages in the form of EIP-4361 (https://eips.ethereum.org/EIPS/eip-4361).

Written and read here: PyPI's siwe cannot be installed beside web3 8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

_TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)"
_FORM: Final = re.compile(
    r"(?P<domain>[^\s/?#@]+)"
    r" wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9a-fA-F]{40})\n"
    r"\n(?:(?P<statement>[^\n]+)\n)?"
    r"\nURI: (?P<uri>[^\s]+)"
    r"\nVersion: 1"
    r"\nChain ID: (?P<chain_id>[1-9][0-9]{0,17})"
    r"\nNonce: (?P<nonce>[a-zA-Z0-9]{8,128})"
    rf"\nIssued At: (?P<issued_at>{_TIME})"
    rf"(?:\nExpiration Time: (?P<expires_at>{_TIME}))?"
    rf"(?:\nNot Before: (?P<not_before>{_TIME}))?"
    r"(?:\nRequest ID: [^\s]*)?"
    r"(?:\nResources:(?P<resources>(?:\n- [^\s]+)*))?",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class SignInMessage:
    """The fields of one message; times are aware."""

    domain: str
    address: str
    uri: str
    chain_id: int
    nonce: str
    issued_at: datetime
    statement: str = ""
    expires_at: datetime | None = None
    not_before: datetime | None = None
    resources: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The message as a wallet shows and signs it."""
        lines = [
            f"{self.domain} wants you to sign in with your Ethereum account:",
            self.address,
            "",
            *([self.statement] if self.statement else []),
            "",
            f"URI: {self.uri}",
            "Version: 1",
            f"Chain ID: {self.chain_id}",
            f"Nonce: {self.nonce}",
            f"Issued At: {_time_text(self.issued_at)}",
        ]
        if self.expires_at:
            lines.append(f"Expiration Time: {_time_text(self.expires_at)}")
        if self.not_before:
            lines.append(f"Not Before: {_time_text(self.not_before)}")
        if self.resources:
            lines += ["Resources:", *(f"- {resource}" for resource in self.resources)]
        return "\n".join(lines)


def read_sign_in_message(text: str) -> SignInMessage:
    """Read a message; raise `ValueError` for any other text, also for one with a scheme."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("not a sign-in message (EIP-4361)")
    fields: dict[str, Any] = found.groupdict()
    for name in ("issued_at", "expires_at", "not_before"):
        fields[name] = fields[name] and _time(fields[name])
    fields["statement"] = fields["statement"] or ""
    fields["chain_id"] = int(fields["chain_id"])
    fields["resources"] = tuple((fields["resources"] or "").split("\n- ")[1:])
    return SignInMessage(**fields)


def _time(text: str) -> datetime:
    """Read a time; fractions beyond microseconds are cut. ValueError for impossible dates."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:  # the year 1, in another zone
        raise ValueError("not a time") from None


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
