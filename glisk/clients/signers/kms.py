"""Sign with a key that never leaves AWS KMS: asymmetric, ECC_SECG_P256K1, for SIGN_VERIFY.

Credentials, region and another endpoint are found by boto3 in its own way: by roles, AWS_PROFILE,
AWS_ACCESS_KEY_ID, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_KMS, which stand in the process environment
and not in .env. An ARN names its region, and AWS_REGION, which containers of AWS have, is heeded.
Reference: https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
"""

from __future__ import annotations

import os
import threading
from functools import cached_property
from typing import Any, Final

from django.conf import settings

from glisk.clients.signers import VENDOR, SignedTransaction, wrong_key
from glisk.config.addresses import keccak256
from glisk.config.keys import SECP256K1_ORDER
from glisk.errors import AccountError, ProviderError, TransientError
from glisk.metrics import timed_vendor_call

KEY_SPEC = "ECC_SECG_P256K1"
# What stands before X and Y in the DER form (RFC 5280, SubjectPublicKeyInfo) of such a key:
# id-ecPublicKey, secp256k1, and a point that is not compressed.
_SPKI_PREFIX: Final = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a03420004")

# The faults of KMS and of AWS in front of it that pass. All others need an operator:
# https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html
_RATE: Final = frozenset({"ThrottlingException", "Throttling", "TooManyRequestsException"})
_PASSING: Final = frozenset(
    {"DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException"}
)
_WORDS: Final = "AWS KMS, key of the keeper"


class KmsSigner:
    """Signs by one call, some 50 ms; its address is pinned, whatever an alias leads to."""

    def __init__(self, key_id: str, *, address: str) -> None:
        self._key_id, self.address = key_id, address
        self._lock = threading.Lock()

    def sign(self, transaction: dict[str, Any]) -> SignedTransaction:
        from eth_account.typed_transactions import TypedTransaction

        digest = bytes(TypedTransaction.from_dict(transaction).hash())
        answer = self._ask(
            "sign", Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
        )
        v, r, s = _recoverable(digest, answer.get("Signature", b""), self.address)
        raw = bytes(TypedTransaction.from_dict({**transaction, "v": v, "r": r, "s": s}).encode())
        return SignedTransaction(f"0x{keccak256(raw).hex()}", raw)

    def fetch_address(self) -> str:
        """Ask KMS for the public key; return its address.

        Raises `AccountError` if it is of another kind, besides the errors of a call.
        """
        from eth_keys.datatypes import PublicKey

        key: bytes = self._ask("get_public_key").get("PublicKey", b"")
        if len(key) != len(_SPKI_PREFIX) + 64 or not key.startswith(_SPKI_PREFIX):
            raise AccountError(
                f"{_WORDS}: it is no key of the kind {KEY_SPEC}.", vendor=VENDOR, code="key_spec"
            )
        return PublicKey(key.removeprefix(_SPKI_PREFIX)).to_checksum_address()

    def _ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        with timed_vendor_call(VENDOR):
            return self._ask_now(operation, **parameters)

    def _ask_now(self, operation: str, **parameters: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            with self._lock:
                client = self._client
            answer: dict[str, Any] = getattr(client, operation)(KeyId=self._key_id, **parameters)
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            raise _classified(error) from error
        return answer

    @cached_property
    def _client(self) -> Any:
        """The client of boto3, made at first use: what it misses is a fault of that call."""
        from boto3.session import Session
        from botocore.config import Config

        arn = self._key_id.split(":")  # arn:aws:kms:eu-central-1:111122223333:key/…
        return Session().client(
            "kms",
            region_name=arn[3] if len(arn) > 3 else os.environ.get("AWS_REGION"),
            config=Config(
                connect_timeout=settings.HTTP_CONNECT_TIMEOUT_SECONDS,
                read_timeout=settings.HTTP_READ_TIMEOUT_SECONDS,
                retries={"total_max_attempts": 1},  # the breaker asks again, and shows the fault
            ),
        )


def _recoverable(digest: bytes, der: bytes, address: str) -> tuple[int, int, int]:
    """Return v, r, s: with the lower s (EIP-2), and the v by which the address is recovered.

    KMS tells no recovery id, and either of the two values of s.
    """
    from eth_keys.datatypes import Signature
    from eth_keys.exceptions import BadSignature, ValidationError
    from eth_keys.utils.der import two_int_sequence_decoder

    try:
        r, s = two_int_sequence_decoder(der)
        s = min(s, SECP256K1_ORDER - s)
        candidates = [Signature(vrs=(v, r, s)) for v in (0, 1)]
    except (BadSignature, ValidationError, ValueError, IndexError) as error:
        text = f"{_WORDS}: the answer is no signature ({type(error).__name__})."
        raise TransientError(text, vendor=VENDOR, code="bad_reply") from error
    for v, signature in enumerate(candidates):
        try:
            key = signature.recover_public_key_from_msg_hash(digest)
        except BadSignature:
            continue
        if key.to_checksum_address() == address:
            return v, r, s
    raise wrong_key(address)


def _classified(error: Exception) -> ProviderError:
    """Return what a fault of boto3 means: does it pass, or does it need an operator?"""
    from botocore import exceptions, parsers

    if isinstance(error, exceptions.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        fault = error.response.get("Error", {})
        code, said = str(fault.get("Code", "")), str(fault.get("Message", ""))
        is_rate = code in _RATE or status == 429
        kind = TransientError if is_rate or code in _PASSING or status >= 500 else AccountError
        return kind(
            f"{_WORDS}: {code}: {said}" if said else f"{_WORDS}: {code}",
            vendor=VENDOR,
            status=status or None,
            code=code,
            said=said,
            rate_limited=is_rate,
        )
    text = f"{_WORDS}: {error}"
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        timeouts = exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError
        code = "timeout" if isinstance(error, timeouts) else "connection"
        return TransientError(text, vendor=VENDOR, code=code)
    if isinstance(error, parsers.ResponseParserError):
        return TransientError(text[:500], vendor=VENDOR, code="bad_reply")
    # No credentials, no region, an unknown profile: it was not even asked.
    return AccountError(text, vendor=VENDOR, code="aws_setup")
