"""GET /api/admin/system/state: the whole picture for scripts."""

from dataclasses import asdict

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from glisk.api.exceptions import ErrorSerializer
from glisk.api.operations import OperationsView
from glisk.console.overview import take_overview
from glisk.console.troubles import find_troubles


class SystemStateView(OperationsView):
    permission = "glisk.view_systemstate"

    @extend_schema(
        operation_id="system_state",
        tags=["operations"],
        summary="How the whole system stands",
        description="Tokens by state, stages, reveals under way, spend, workers, what holds work "
        "back, and how far the chain has been read. `manage.py pipeline_status --json` prints "
        "the same.",
        responses={
            200: OpenApiTypes.OBJECT,
            401: ErrorSerializer,
            403: ErrorSerializer,
            429: ErrorSerializer,
        },
    )
    def get(self, request: Request) -> Response:
        view = take_overview()
        found = find_troubles(workers=view.workers, chain=view.chain, groups=view.groups)
        return Response({**asdict(view), "troubles": [asdict(trouble) for trouble in found]})
