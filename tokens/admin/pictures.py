"""A token's image as the admin shows it: from our own bytes, for staff only."""

import io
import warnings

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import etag, require_safe
from PIL import Image

from tokens.models import TokenImage

THUMBNAIL_SIDE = 96
# The addresses carry the image's hash, so that what a browser holds is right for ever.
_MAX_AGE_SECONDS = 31_536_000
_SHOWN_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"})


def _entity_tag(request: HttpRequest, token_id: int, *, thumbnail: bool = False) -> str | None:
    sha256 = TokenImage.objects.filter(pk=token_id).values_list("sha256", flat=True).first()
    return f'"{sha256}{"-t" if thumbnail else ""}"' if sha256 else None


@etag(_entity_tag)
def _picture(request: HttpRequest, token_id: int, *, thumbnail: bool = False) -> HttpResponse:
    found = TokenImage.objects.filter(pk=token_id).values_list("data", "mime_type").first()
    if found is None or found[0] is None:
        raise Http404("The bytes of this image are not kept (any more).")
    data, mime_type = bytes(found[0]), found[1]
    if thumbnail:
        data, mime_type = make_thumbnail(data), "image/webp"
    return image_response(data, mime_type)


def image_response(data: bytes, mime_type: str) -> HttpResponse:
    """Return an image's bytes as nothing but an image, kept by the browser for ever."""
    known = mime_type in _SHOWN_TYPES
    response = HttpResponse(data, content_type=mime_type if known else "application/octet-stream")
    patch_cache_control(response, private=True, max_age=_MAX_AGE_SECONDS, immutable=True)
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@require_safe
def picture(request: HttpRequest, token_id: int, *, thumbnail: bool = False) -> HttpResponse:
    """Answer with the image's bytes or a thumbnail of it; 403 without the right to see tokens."""
    if not request.user.has_perm("tokens.view_token"):
        raise PermissionDenied
    return _picture(request, token_id, thumbnail=thumbnail)


def make_thumbnail(data: bytes) -> bytes:
    """Return a small WebP of an image; raises `Http404` if the bytes are not one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                image.draft("RGB", (THUMBNAIL_SIDE * 2, THUMBNAIL_SIDE * 2))
                image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
                small = io.BytesIO()
                image.convert("RGB").save(small, "WEBP", quality=80)
    except (OSError, ValueError, Image.DecompressionBombError, Warning):
        raise Http404("This image cannot be drawn.") from None
    return small.getvalue()
