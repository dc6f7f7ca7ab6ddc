"""What the API's documentation shows."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample

_WALLET: Final = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
_MINTER: Final = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
_LISTED: Final[dict[str, Any]] = {
    "token_id": 42,
    "status": "revealed",
    "image_cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
    "metadata_cid": "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
    "image_url": "https://replicate.delivery/xezq/out-0.webp",
    "generation_attempts": 1,
    "generation_error": None,
    "reveal_tx_hash": "0x" + "5c" * 32,
    "created_at": "2025-10-05T14:23:07.123456Z",
}
_DETAILED: Final[dict[str, Any]] = {
    **_LISTED,
    "name": "GLISK S0 #42",
    "author_address": _WALLET,
    "minter_address": _MINTER,
    "mint_timestamp": "2025-10-05T14:23:05Z",
    "revealed_at": "2025-10-05T14:23:31.654321Z",
    "token_uri": "ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
}
_MINT: Final[dict[str, Any]] = {
    "tx_hash": "0x" + "7a" * 32,
    "block_number": 37500123,
    "minted_at": "2025-10-05T14:23:05Z",
    "minter_address": _MINTER,
    "author_address": _WALLET,
    "tokens": [
        {
            "token_id": 42,
            "status": "generating",
            "position": 3,
            "estimated_seconds": 14,
            "image_cid": None,
            "metadata_cid": None,
            "reveal_tx_hash": None,
            "error": None,
        }
    ],
    "total": 1,
    "revealed": 0,
    "done": False,
}


def _answer(name: str, value: Any, status: str = "200") -> OpenApiExample:
    return OpenApiExample(name, value=value, status_codes=[status], response_only=True)


PAGE: Final = _answer("page", {"tokens": [_LISTED], "total": 1, "offset": 0, "limit": 20})
BAD_LIMIT: Final = _answer(
    "bad query", {"detail": "limit: Ensure this value is less than or equal to 100."}, "422"
)
BAD_WALLET: Final = _answer(
    "bad wallet", {"detail": "minter: That is no wallet address: 0x and 40 hex digits."}, "422"
)
NO_LEADERBOARD: Final = _answer("no database", [], "503")
LEADERBOARD: Final = _answer("leaderboard", [{"author_address": _WALLET, "total_tokens": 7}])
TOKEN: Final = _answer("token", _DETAILED)
UNKNOWN_TOKEN: Final = _answer("unknown", {"detail": "There is no token 43."}, "404")
TOKENS: Final = _answer("tokens", {"tokens": [_DETAILED], "next_before": 42})
MINT: Final = _answer("mint", _MINT)
UNKNOWN_MINT: Final = _answer(
    "not detected", {"detail": "No mint of that transaction has been detected yet."}, "404"
)
