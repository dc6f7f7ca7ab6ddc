"""What the operations API says of tokens: everything that the machine knows."""

from typing import Any

from rest_framework import serializers

from tokens.api.serializers import WalletField
from tokens.models import ImageGenerationJob, IPFSUploadRecord, Token, TokenTransition
from tokens.states import TokenStatus

MAX_PAGE_SIZE = 200


class OperatorTokenQuery(serializers.Serializer):
    """The query string of the operators' list of tokens."""

    status = serializers.ChoiceField(
        choices=TokenStatus.choices, required=False, help_text="Tokens in this state only."
    )
    author = WalletField(required=False, help_text="The prompt author's wallet on chain.")
    minter = WalletField(required=False, help_text="The wallet that minted.")
    error_class = serializers.CharField(
        required=False, max_length=40, help_text="Of tokens that wait or failed, e.g. `transient`."
    )
    held = serializers.BooleanField(required=False, help_text="`true`: held tokens only.")
    stalled = serializers.BooleanField(
        required=False, help_text="`true`: only tokens whose worker is gone."
    )
    before = serializers.IntegerField(
        required=False, min_value=1, help_text="Tokens below this id: `next_before` of a page."
    )
    limit = serializers.IntegerField(default=50, min_value=1, max_value=MAX_PAGE_SIZE)


class OperatorTokenSerializer(serializers.ModelSerializer):
    author_address = serializers.CharField(source="prompt_author_wallet", read_only=True)

    class Meta:
        model = Token
        fields: tuple[str, ...] = (
            "token_id",
            "status",
            "status_changed_at",
            "author_address",
            "minter_address",
            "mint_timestamp",
            "generation_attempts",
            "fallback_used",
            "error_class",
            "generation_error",
            "attempts",
            "next_attempt_at",
            "lease_owner",
            "lease_expires_at",
            "held_at",
            "hold_reason",
            "image_cid",
            "metadata_cid",
            "reveal_tx_hash",
            "revealed_at",
        )
        read_only_fields = fields


class OperatorTokenPageSerializer(serializers.Serializer):
    tokens = OperatorTokenSerializer(many=True)
    next_before = serializers.IntegerField(allow_null=True, help_text="null on the last page.")


class TransitionSerializer(serializers.ModelSerializer):
    class Meta:
        model = TokenTransition
        fields = (
            "from_status",
            "to_status",
            "reason",
            "attempt",
            "actor",
            "detail",
            "created_at",
        )
        read_only_fields = fields


class JobSerializer(serializers.ModelSerializer):
    class Meta:
        model = ImageGenerationJob
        fields = (
            "id",
            "service",
            "model",
            "external_id",
            "attempt_number",
            "status",
            "cost_usd",
            "predict_time_seconds",
            "error_class",
            "error",
            "created_at",
            "submitted_at",
            "completed_at",
        )
        read_only_fields = fields


class UploadSerializer(serializers.ModelSerializer):
    class Meta:
        model = IPFSUploadRecord
        fields = (
            "upload_type",
            "computed_cid",
            "returned_cid",
            "size_bytes",
            "attempt_number",
            "status",
            "error_class",
            "error",
            "created_at",
        )
        read_only_fields = fields


class OperatorTokenDetailSerializer(OperatorTokenSerializer):
    """A token with its whole history: timeline, generation jobs and uploads, oldest first."""

    token_uri = serializers.CharField(allow_null=True, read_only=True)
    mint_tx_hash = serializers.CharField(
        source="mint_event.tx_hash", default=None, allow_null=True, read_only=True
    )
    timeline = TransitionSerializer(source="transitions", many=True, read_only=True)
    jobs = serializers.SerializerMethodField()
    uploads = serializers.SerializerMethodField()

    class Meta(OperatorTokenSerializer.Meta):
        fields = (
            *OperatorTokenSerializer.Meta.fields,
            "prompt",
            "metadata_text",
            "image_url",
            "token_uri",
            "mint_tx_hash",
            "error_log",
            "timeline",
            "jobs",
            "uploads",
        )
        read_only_fields = fields

    def get_jobs(self, token: Token) -> list[dict[str, Any]]:
        return list(JobSerializer(token.generation_jobs.order_by("id"), many=True).data)

    def get_uploads(self, token: Token) -> list[dict[str, Any]]:
        return list(UploadSerializer(token.upload_records.order_by("id"), many=True).data)


class ReasonSerializer(serializers.Serializer):
    reason = serializers.CharField(
        required=False,
        default="",
        allow_blank=True,
        max_length=500,
        help_text="Goes into the token's timeline.",
    )


class RepairSerializer(serializers.Serializer):
    """What came of it for one token."""

    token_id = serializers.IntegerField()
    done = serializers.BooleanField()
    message = serializers.CharField(help_text="What was done, or why nothing was.")
    pays = serializers.BooleanField(help_text="It leads to a new prediction, which costs money.")
