"""The JSON forms of a token."""

from rest_framework import serializers

from tokens.models import Token

MAX_PAGE_SIZE = 100
# PostgreSQL's bigint: an offset beyond it is an error there, not an empty page.
_MAX_OFFSET = 2**63 - 1


class PageQuery(serializers.Serializer):
    """The query string of a paged list."""

    offset = serializers.IntegerField(
        default=0, min_value=0, max_value=_MAX_OFFSET, help_text="Tokens to skip."
    )
    limit = serializers.IntegerField(
        default=20, min_value=1, max_value=MAX_PAGE_SIZE, help_text="Tokens in the answer at most."
    )


class TokenSerializer(serializers.ModelSerializer):
    """A token as the frontend lists it."""

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
        read_only_fields = fields


class TokenDetailSerializer(TokenSerializer):
    """A token with who made it and where it stands on chain."""

    author_address = serializers.CharField(source="prompt_author_wallet", read_only=True)
    token_uri = serializers.CharField(allow_null=True, read_only=True)

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
        read_only_fields = fields


class TokenPageSerializer(serializers.Serializer):
    tokens = TokenSerializer(many=True)
    total = serializers.IntegerField(min_value=0)
    offset = serializers.IntegerField(min_value=0)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE_SIZE)


class LeaderboardEntrySerializer(serializers.Serializer):
    author_address = serializers.CharField()
    total_tokens = serializers.IntegerField(min_value=1)
