"""GET /api/tokens/{token_id}/provenance: what a stranger needs to check a token."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from glisk.api.exceptions import ErrorSerializer
from glisk.api.views import ConditionalView
from reveals.provenance import bundle_of


class ProvenanceView(ConditionalView):
    max_age = 60  # an author may make the prompt private again

    @extend_schema(
        operation_id="token_provenance",
        tags=["tokens"],
        summary="Get what a stranger needs to check a revealed token",
        description="docs/provenance.md describes it; `python -m glisk.verify` checks it. The "
        "prompt stands there only where its author has made it public.",
        auth=[],
        responses={200: OpenApiTypes.OBJECT, 404: ErrorSerializer},
    )
    def get(self, request: Request, token_id: int, **_: Any) -> Response:
        bundle = bundle_of(token_id)
        if bundle is None:
            raise NotFound("There is no provenance: the token is not revealed, or not by us.")
        return Response(bundle)
