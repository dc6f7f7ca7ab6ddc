"""AWS KMS over a real socket: moto's handlers behind a server of the sandbox, with its faults.

moto takes DIGEST for a message and hashes it once more, so its own signatures are of no use to a
chain. The keys of this one sign the digest, as KMS does (either value of s, another one each time);
everything else is moto's.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from sandbox.http import Emulator, Faults

REGION = "eu-central-1"


class DigestKey:
    """Stands where moto keeps a key of its own."""

    def __init__(self, private_key: str) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._key = ec.derive_private_key(int(private_key, 16), ec.SECP256K1())

    def sign(self, message: bytes, signing_algorithm: str) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

        assert signing_algorithm == "ECDSA_SHA_256"
        return self._key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))

    def public_key(self) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class KmsEmulator(Emulator[Faults]):
    """Takes what boto3 sends."""

    name = "kms"
    faults_class = Faults

    def __init__(self, **common: Any) -> None:
        from moto.core import DEFAULT_ACCOUNT_ID  # half a second, which fast tests are spared
        from moto.kms.models import kms_backends

        super().__init__(**common)
        self._backend = kms_backends[DEFAULT_ACCOUNT_ID][REGION]

    @property
    def environment(self) -> dict[str, str]:
        """By which boto3 finds it; and looks for credentials nowhere else."""
        return {
            "AWS_ENDPOINT_URL_KMS": self.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "made-up",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def create_key(self, private_key: str = "", *, spec: str = "ECC_SECG_P256K1") -> str:
        """Create a key, or take in this one (0x and hex), as an import does; return its id."""
        key: Any = self._backend.create_key("", "SIGN_VERIFY", spec, description="", tags=[])
        if private_key:
            key.private_key = DigestKey(private_key)
        return str(key.id)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/", self._pass_on)]

    def refuse(self, status: int, code: str, message: str = "") -> None:
        """Answer every call in these words, until `reset`."""
        self.script("^POST /$", {"__type": code, "message": message}, status)

    async def _pass_on(self, request: web.Request) -> web.Response:
        from moto.core.request import Request
        from moto.kms.responses import KmsResponse

        asked = Request.from_primitives(
            request.method, str(request.url), dict(request.headers), await request.read()
        )
        status, _, body = KmsResponse.dispatch(asked)
        kind = {"Content-Type": "application/x-amz-json-1.1"}
        return web.Response(status=status, text=str(body), headers=kind)
