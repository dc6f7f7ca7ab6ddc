"""A key of this process, one in a file, one in AWS KMS: the same transaction, or a named fault."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_keys.utils.der import two_int_sequence_decoder, two_int_sequence_encoder
from hexbytes import HexBytes
from pytest_django import Settings

from glisk.breaker import BreakerState
from glisk.clients.signers import SignedTransaction, Signer, check_signer
from glisk.clients.signers.kms import KmsSigner, _recoverable
from glisk.clients.signers.local import FileSigner, KeySigner
from glisk.config.keys import SECP256K1_ORDER, KeyFile
from glisk.console.advice import advice_for_breaker
from glisk.errors import AccountError, ProviderError, TransientError
from glisk.logging.redaction import redact_text
from glisk.tests.clients.kms_emulator import REGION, KmsEmulator
from reveals.keeper import signer_from_settings
from sandbox.accounts import ACCOUNTS, KEEPER
from sandbox.node import free_port

TRANSACTION: dict[str, Any] = {
    "type": 2,
    "chainId": 31337,
    "nonce": 7,
    "to": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
    "value": 0,
    "data": "0x53de7804",
    "gas": 200_000,
    "maxFeePerGas": 12_000_000,
    "maxPriorityFeePerGas": 1_000_000,
}
KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"


@pytest.fixture(scope="module")
def _kms() -> Iterator[KmsEmulator]:
    with KmsEmulator() as kms:
        yield kms


@pytest.fixture
def kms(_kms: KmsEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsEmulator]:
    """KMS, to which boto3 finds its way by the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in _kms.environment.items():
        monkeypatch.setenv(name, value)
    yield _kms
    _kms.reset(state=True)


def fields(signed: SignedTransaction) -> dict[str, Any]:
    return dict(TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict())


def key_file(tmp_path: Path, text: str) -> str:
    (tmp_path / "keeper").write_text(text)
    return str(tmp_path / "keeper")


def test_all_three_sign_the_same_transaction(
    kms: KmsEmulator, settings: Settings, tmp_path: Path
) -> None:
    settings.KEEPER_ADDRESS = KEEPER.address
    settings.KEEPER_PRIVATE_KEY = KEEPER.private_key
    found: list[Signer] = [signer_from_settings()]
    settings.KEEPER_PRIVATE_KEY = ""
    settings.KEEPER_KEY_FILE = KeyFile(key_file(tmp_path, KEEPER.private_key), KEEPER.address)
    found.append(signer_from_settings())
    settings.KEEPER_KMS_KEY_ID = kms.create_key(KEEPER.private_key)
    found.append(signer_from_settings())
    assert [type(signer) for signer in found] == [KeySigner, FileSigner, KmsSigner]
    assert kms.calls == []  # whom it is known for without asking
    assert {signer.address for signer in found} == {KEEPER.address}
    by_key, by_file, by_kms = (signer.sign(TRANSACTION) for signer in found)
    assert by_key == by_file
    for signed in (by_key, by_kms):
        check_signer(signed, KEEPER.address)
        told = fields(signed)
        assert bytes(told["to"]).hex() == TRANSACTION["to"][2:].lower()
        assert (told["chainId"], told["nonce"], told["gas"]) == (31337, 7, 200_000)
    assert {n: v for n, v in fields(by_kms).items() if n not in "vrs"} == {
        n: v for n, v in fields(by_key).items() if n not in "vrs"
    }
    with pytest.raises(AccountError, match="not that of the keeper"):
        check_signer(by_key, ACCOUNTS[3].address)


def test_signatures_of_kms_differ_and_are_all_taken(kms: KmsEmulator) -> None:
    """Each has another nonce of its own; about half of them come with the upper s."""
    signer = KmsSigner(kms.create_key(KEEPER.private_key), address=KEEPER.address)
    signed = [signer.sign(TRANSACTION) for _ in range(8)]
    assert len({each.tx_hash for each in signed}) == 8
    for each in signed:
        check_signer(each, KEEPER.address)
        assert fields(each)["s"] <= SECP256K1_ORDER // 2
    assert {fields(each)["v"] for each in signed} == {0, 1}


def test_both_values_of_s_lead_to_the_lower_one() -> None:
    digest = b"\x17" * 32
    own = Account.from_key(KEY)
    signature = own.unsafe_sign_hash(digest)
    r, s = signature.r, signature.s
    expected = (signature.v - 27, r, s)
    for either in (s, SECP256K1_ORDER - s):
        der = two_int_sequence_encoder(r, either)
        assert two_int_sequence_decoder(der) == (r, either)
        assert _recoverable(digest, der, own.address) == expected
    with pytest.raises(AccountError) as caught:
        _recoverable(digest, der, KEEPER.address)
    assert caught.value.code == "wrong_key"
    for nonsense in (b"", b"\x30", b"no DER"):
        with pytest.raises(TransientError) as bad:
            _recoverable(digest, nonsense, own.address)
        assert bad.value.code == "bad_reply"


def test_the_address_of_a_key_in_kms_is_told(kms: KmsEmulator) -> None:
    for private_key in ("0x" + KEY, KEEPER.private_key):
        signer = KmsSigner(kms.create_key(private_key), address="")
        assert signer.fetch_address() == Account.from_key(private_key).address
    arn = f"arn:aws:kms:{REGION}:123456789012:key/{kms.create_key(KEEPER.private_key)}"
    assert KmsSigner(arn, address="").fetch_address() == KEEPER.address
    for spec in ("ECC_NIST_P256", "RSA_2048"):
        with pytest.raises(AccountError) as caught:
            KmsSigner(kms.create_key(spec=spec), address="").fetch_address()
        assert caught.value.code == "key_spec"


def fault_of(signer: Signer) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        signer.sign(TRANSACTION)
    assert caught.value.vendor == "signer"
    return caught.value


# The status, the code and the words of KMS, whether it passes, and a part of the advice.
REFUSALS = [
    (400, "AccessDeniedException", "User: arn:aws:iam::1:role/w is not authorized", False, "Allow"),
    (400, "DisabledException", "arn:aws:kms:… is disabled.", False, "Enable the key"),
    (400, "KMSInvalidStateException", "… is pending deletion.", False, "cancel its deletion"),
    (400, "NotFoundException", "Key 'arn:…' does not exist", False, "KEEPER_KMS_KEY_ID"),
    (400, "InvalidKeyUsageException", "… key usage is ENCRYPT_DECRYPT", False, "SIGN_VERIFY"),
    (400, "UnrecognizedClientException", "The security token is invalid", False, "credentials"),
    (400, "ExpiredTokenException", "The security token is expired", False, "credentials"),
    (400, "SomethingNew", "Nobody knows it", False, "credentials"),
    (400, "ThrottlingException", "Rate exceeded", True, "more slowly"),
    (500, "KMSInternalException", "", True, "when it answers"),
    (503, "ServiceUnavailable", "", True, "when it answers"),
    (500, "KeyUnavailableException", "", True, "when it answers"),
]


@pytest.mark.parametrize(("status", "code", "said", "passes", "advice"), REFUSALS)
def test_every_refusal_is_told_by_its_name(
    kms: KmsEmulator, status: int, code: str, said: str, passes: bool, advice: str
) -> None:
    signer = KmsSigner(kms.create_key(KEEPER.private_key), address=KEEPER.address)
    kms.refuse(status, code, said)
    error = fault_of(signer)
    assert isinstance(error, TransientError if passes else AccountError)
    assert (error.code, error.status, error.said) == (code, status, said)
    assert error.rate_limited == (code == "ThrottlingException")
    assert len(kms.calls) == 1  # the SDK hides no fault by asking again
    state = BreakerState(status=status, code=code, said=said, reason=str(error))
    assert advice in advice_for_breaker("signer", state)


def test_a_key_of_somebody_else_signs_nothing_for_the_keeper(kms: KmsEmulator) -> None:
    for key_id in (kms.create_key("0x" + KEY), kms.create_key(spec="ECC_NIST_P256")):
        signer = KmsSigner(key_id, address=KEEPER.address)
        assert fault_of(signer).code == "wrong_key"
    refused = fault_of(KmsSigner(kms.create_key(spec="RSA_2048"), address=KEEPER.address))
    assert isinstance(refused, AccountError)


def test_a_kms_that_is_not_reached_passes(
    kms: KmsEmulator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id = kms.create_key(KEEPER.private_key)
    settings.HTTP_READ_TIMEOUT_SECONDS = 0.2
    kms.set_faults(latency_seconds=(0.6, 0.6))
    slow = KmsSigner(key_id, address=KEEPER.address)
    assert fault_of(slow).code == "timeout"
    kms.set_faults(latency_seconds=(0, 0), drop_after_rate=1.0)
    lost = fault_of(KmsSigner(key_id, address=KEEPER.address))
    assert isinstance(lost, TransientError)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{free_port()}")
    away = fault_of(KmsSigner(key_id, address=KEEPER.address))
    assert isinstance(away, TransientError)
    assert away.code == "connection"


def test_an_answer_that_is_none_passes(kms: KmsEmulator) -> None:
    signer = KmsSigner(kms.create_key(KEEPER.private_key), address=KEEPER.address)
    for body in (b"<html>a proxy</html>", {"KeyId": "of somebody"}):
        kms.script("^POST /$", body)
        error = fault_of(signer)
        assert isinstance(error, TransientError)
        assert error.code == "bad_reply"


@pytest.mark.parametrize("missing", ["AWS_REGION", "AWS_ACCESS_KEY_ID"])
def test_what_boto3_misses_is_told(
    kms: KmsEmulator, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    signer = KmsSigner(kms.create_key(KEEPER.private_key), address=KEEPER.address)
    with monkeypatch.context() as without:
        without.delenv(missing)
        error = fault_of(signer)
    assert isinstance(error, AccountError)
    assert error.code == "aws_setup"


def test_a_key_file_is_read_when_it_signs_and_not_before(tmp_path: Path) -> None:
    path, own = str(tmp_path / "keeper"), Account.from_key(KEY)
    signer = FileSigner(path, address=own.address)
    assert fault_of(signer).code == "unreadable_key"
    for text in ("no key", KEY[:-1], "\N{SNOWMAN}"):
        key_file(tmp_path, text)
        error = fault_of(signer)
        assert error.code == "unreadable_key"
        assert text not in str(error)
    Path(key_file(tmp_path, f"{KEY}\n")).chmod(stat.S_IRUSR)
    check_signer(signer.sign(TRANSACTION), own.address)
    assert KEY not in redact_text(f"the key is {KEY}")  # and no log shows it from now on
