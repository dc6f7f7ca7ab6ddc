"""POST /api/admin/reveal: have ready tokens revealed now."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from glisk.api.exceptions import ErrorSerializer
from glisk.api.views import REFUSALS, OperationsView
from glisk.permissions import REVEAL_NOW
from reveals.by_hand import request_reveal


class RevealOrderSerializer(serializers.Serializer):
    token_ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        required=False,
        allow_empty=False,
        max_length=500,
        help_text="These tokens.",
    )
    all_ready = serializers.BooleanField(
        default=False, help_text="All ready tokens that nobody holds."
    )
    dry_run = serializers.BooleanField(default=False, help_text="Only say what would happen.")

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if bool(given.get("token_ids")) == given["all_ready"]:
            raise serializers.ValidationError("Give token_ids, or all_ready: true.")
        return given


class RevealResultSerializer(serializers.Serializer):
    token_id = serializers.IntegerField()
    done = serializers.BooleanField()
    message = serializers.CharField(help_text="What was done, or why nothing was.")


class RevealAnswerSerializer(serializers.Serializer):
    requested = serializers.IntegerField(help_text="Tokens that go with the next batch.")
    skipped = serializers.IntegerField()
    results = RevealResultSerializer(many=True)


class RevealView(OperationsView):
    permission = REVEAL_NOW

    @extend_schema(
        operation_id="reveal",
        tags=["operations"],
        summary="Reveal ready tokens without waiting for company",
        description="They still pass the gate. What cannot be revealed is named and skipped. "
        "Asking twice asks once. The worker sends the transaction, which costs gas.",
        request=RevealOrderSerializer,
        responses={200: RevealAnswerSerializer, 400: ErrorSerializer, **REFUSALS},
        examples=[
            OpenApiExample("some", value={"token_ids": [41, 42]}, request_only=True),
            OpenApiExample("all", value={"all_ready": True}, request_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        given = RevealOrderSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        results = request_reveal(actor=self.actor, **given.validated_data)
        done = sum(result.done for result in results)
        answer = {
            "requested": done,
            "skipped": len(results) - done,
            "results": [asdict(result) for result in results],
        }
        return Response(RevealAnswerSerializer(answer).data)
