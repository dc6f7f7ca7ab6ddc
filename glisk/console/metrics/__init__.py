"""/metrics: what Prometheus reads of this installation, and of the processes of this machine.

Two kinds of figures stand there. What rows hold is read from them at the scrape (`rows`): right for
all machines together, whatever was killed; so each web server tells the same. What no row holds is
counted in each process (glisk.metrics) and told by its machine; those are to be summed.
"""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from glisk.metrics.access import may_read


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer in the format that the scraper asks for; 401 to whoever may not read it."""
    if not may_read(request.META):
        text = "Send METRICS_TOKEN as a bearer token, or ask from a machine in METRICS_NETWORKS.\n"
        refused = HttpResponse(text, status=401, content_type="text/plain; charset=utf-8")
        refused["WWW-Authenticate"] = "Bearer"
        return refused
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    from glisk.console.metrics.rows import RowCollector
    from glisk.metrics.files import FileCollector

    registry = CollectorRegistry()
    registry.register(RowCollector())
    registry.register(FileCollector())
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type)
