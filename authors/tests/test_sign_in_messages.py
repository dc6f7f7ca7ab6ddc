"""Sign-in messages of EIP-4361: what is written can be read, and nothing else is taken for one."""

from datetime import UTC, datetime

import pytest

from authors.signatures.eip4361 import SignInMessage, read_sign_in_message

TEXT = """\
glisk.example:3000 wants you to sign in with your Ethereum account:
0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A

Farcaster Auth

URI: https://glisk.example/login
Version: 1
Chain ID: 10
Nonce: abcd1234
Issued At: 2026-02-01T10:00:00.123Z
Expiration Time: 2026-02-01T12:10:00+02:00
Not Before: 2026-02-01T09:59:00Z
Request ID: some-id
Resources:
- farcaster://fid/7
- https://glisk.example/terms"""


def test_every_field_is_read() -> None:
    assert read_sign_in_message(TEXT) == SignInMessage(
        domain="glisk.example:3000",
        address="0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A",
        statement="Farcaster Auth",
        uri="https://glisk.example/login",
        chain_id=10,
        nonce="abcd1234",
        issued_at=datetime(2026, 2, 1, 10, 0, 0, 123000, tzinfo=UTC),
        expires_at=datetime(2026, 2, 1, 10, 10, tzinfo=UTC),
        not_before=datetime(2026, 2, 1, 9, 59, tzinfo=UTC),
        resources=("farcaster://fid/7", "https://glisk.example/terms"),
    )


def test_anything_else_is_refused() -> None:
    for old, new in (
        ("glisk.example:3000 wants", " wants"),
        ("glisk.example:3000 wants", "evil.example/glisk.example wants"),
        ("glisk.example:3000 wants", "glisk.example@evil.example wants"),
        ("glisk.example:3000 wants", "https://glisk.example:3000 wants"),
        ("\nFarcaster Auth\n", "\nFarcaster Auth\nand more\n"),
        ("Version: 1", "Version: 2"),
        ("Chain ID: 10", "Chain ID: 010"),
        ("Chain ID: 10", "Chain ID: ten"),
        ("Nonce: abcd1234", "Nonce: abcd123"),
        ("Nonce: abcd1234", "Nonce: abcd-1234"),
        ("Nonce: abcd1234", "Nonce: abcd1234\nNonce: efgh5678"),
        ("Issued At: 2026-02-01", "Issued At: 2026-02-31"),
        ("Issued At: 2026-02-01T10:00:00.123Z", "Issued At: 2026-02-01T10:00:00.123"),
        ("Issued At: 2026-02-01T10:00:00.123Z", "Issued At: 0001-01-01T00:00:00+01:00"),
        ("Issued At: 2026-02-01T10:00:00.123Z", "Issued At: yesterday"),
        ("0x19E7", "0y19E7"),
        ("- https://glisk.example/terms", "- https://glisk.example/terms\n"),
        ("- https://glisk.example/terms", "* https://glisk.example/terms"),
        ("\n", "\r\n"),
    ):
        assert old in TEXT
        with pytest.raises(ValueError, match=r"sign-in message|time|day|month"):
            read_sign_in_message(TEXT.replace(old, new))
