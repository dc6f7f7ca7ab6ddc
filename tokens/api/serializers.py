"""The public API of tokens: its query strings and JSON forms."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from glisk.fields import parse_wallet
from tokens.models import Token
from tokens.states import TokenStatus

MAX_PAGE_SIZE = 100
# PostgreSQL's bigint: an offset beyond it is an error there, not an empty page.
_MAX_OFFSET = 2**63 - 1
# Why a token failed, for the public, by its error class; the error's own text is for operators.
PUBLIC_ERRORS: Final = {
    "content_policy": "The image model refused the prompt.",
    "validation": "The author's prompt cannot be used.",
    "transient": "The image could not be generated; the operators have been told.",
    "artefact": "The image that was generated is not usable; the operators have been told.",
    "no_image": "The image model brought no image; the operators have been told.",
    "cid_mismatch": "The image could not be stored; the operators have been told.",
}
OTHER_ERROR: Final = "Something went wrong; the operators have been told."

# What the API's documentation shows.
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
_MINTED: Final[dict[str, Any]] = {
    "token_id": 42,
    "status": "generating",
    "position": 3,
    "estimated_seconds": 14,
    **dict.fromkeys(("image_cid", "metadata_cid", "reveal_tx_hash", "error")),
}
_MINT: Final[dict[str, Any]] = {
    "tx_hash": "0x" + "7a" * 32,
    "block_number": 37500123,
    "minted_at": "2025-10-05T14:23:05Z",
    "minter_address": _MINTER,
    "author_address": _WALLET,
    "tokens": [_MINTED],
    "total": 1,
    "revealed": 0,
    "done": False,
}


def _example(value: Any) -> Any:
    return extend_schema_serializer(examples=[OpenApiExample("example", value=value)])


def limit_field(default: int = 20, most: int = MAX_PAGE_SIZE) -> serializers.IntegerField:
    return serializers.IntegerField(
        default=default, min_value=1, max_value=most, help_text="Tokens in the answer at most."
    )


class PageQuery(serializers.Serializer):
    """The query string of a paged list."""

    offset = serializers.IntegerField(
        default=0, min_value=0, max_value=_MAX_OFFSET, help_text="Tokens to skip."
    )
    limit = limit_field()


class WalletField(serializers.CharField):
    """A wallet in any letter case; EIP-55 afterwards."""

    def to_internal_value(self, data: Any) -> str:
        address = parse_wallet(super().to_internal_value(data))
        if address is None:
            raise serializers.ValidationError("That is no wallet address: 0x and 40 hex digits.")
        return address


class TokenQuery(serializers.Serializer):
    """The query string of the list of all tokens."""

    minter = WalletField(required=False, help_text="The wallet that minted.")
    author = WalletField(required=False, help_text="The prompt author's wallet on chain.")
    status = serializers.ChoiceField(TokenStatus.choices, required=False)
    before = serializers.IntegerField(
        required=False, min_value=1, max_value=_MAX_OFFSET, help_text="Token ids below this one."
    )
    limit = limit_field()


def public_error(status: str, error_class: str) -> str | None:
    """Return a sentence for people about a failed token; None for any other."""
    return PUBLIC_ERRORS.get(error_class, OTHER_ERROR) if status == TokenStatus.FAILED else None


class ShownSerializer(serializers.ModelSerializer):
    # Rows that are only shown. No docstring: the schema would describe each form by it.
    def get_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().get_fields()
        for field in fields.values():
            field.read_only = True
        return fields


class TokenSerializer(ShownSerializer):
    """A token as the frontend lists it."""

    generation_error = serializers.SerializerMethodField()

    def get_generation_error(self, token: Token) -> str | None:
        return public_error(token.status, token.error_class)

    class Meta:
        model = Token
        fields: tuple[str, ...] = (
            "token_id",
            "status",
            "image_cid",
            "metadata_cid",
            "image_url",
            "generation_attempts",
            "generation_error",
            "reveal_tx_hash",
            "created_at",
        )


@_example(_DETAILED)
class TokenDetailSerializer(TokenSerializer):
    """A token with who made it and where it stands on chain."""

    author_address = serializers.CharField(source="prompt_author_wallet")
    token_uri = serializers.CharField(allow_null=True)

    class Meta(TokenSerializer.Meta):
        fields = (
            *TokenSerializer.Meta.fields,
            "name",
            "author_address",
            "minter_address",
            "mint_timestamp",
            "revealed_at",
            "token_uri",
        )


@_example({"tokens": [_LISTED], "total": 1, "offset": 0, "limit": 20})
class TokenPageSerializer(serializers.Serializer):
    tokens = TokenSerializer(many=True)
    total = serializers.IntegerField(min_value=0)
    offset = serializers.IntegerField(min_value=0)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE_SIZE)


class TokenListSerializer(serializers.Serializer):
    tokens = TokenDetailSerializer(many=True)
    next_before = serializers.IntegerField(
        allow_null=True, help_text="`before` of the next page; null on the last one."
    )


class MintedTokenSerializer(serializers.Serializer):
    token_id = serializers.IntegerField()
    status = serializers.ChoiceField(TokenStatus.choices)
    position = serializers.IntegerField(
        allow_null=True, help_text="Place among all tokens that are not revealed; 1 is next."
    )
    estimated_seconds = serializers.IntegerField(
        allow_null=True, help_text="Until the reveal; null where nothing can be said."
    )
    image_cid = serializers.CharField(allow_null=True)
    metadata_cid = serializers.CharField(allow_null=True)
    reveal_tx_hash = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True, help_text="Why it failed, for people.")


@_example(_MINT)
class MintSerializer(serializers.Serializer):
    tx_hash = serializers.CharField()
    block_number = serializers.IntegerField()
    minted_at = serializers.DateTimeField()
    minter_address = serializers.CharField()
    author_address = serializers.CharField()
    tokens = MintedTokenSerializer(many=True)
    total = serializers.IntegerField(min_value=1)
    revealed = serializers.IntegerField(min_value=0)
    done = serializers.BooleanField(help_text="Whether all tokens are revealed.")


@_example({"author_address": _WALLET, "total_tokens": 7})
class LeaderboardEntrySerializer(serializers.Serializer):
    author_address = serializers.CharField()
    total_tokens = serializers.IntegerField(min_value=1)
