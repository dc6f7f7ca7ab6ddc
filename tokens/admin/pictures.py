"""A token's image as the admin shows it: from our own bytes, for staff only."""

import io
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from tokens.models import TokenImage

THUMBNAIL_SIDE = 96
_MAX_AGE_SECONDS = 31_536_000
_SHOWN_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"})


def picture_url(token_id: int, sha256: str, *, thumbnail: bool = False) -> str:
    """Return the staff-only address of a token's image; it changes with the image.

    So what a browser holds is right for ever.
    """
    name = "admin:tokens_token_thumbnail" if thumbnail else "admin:tokens_token_picture"
    return f"{reverse(name, args=[token_id])}?v={sha256[:16]}"


@require_safe
def picture(request: HttpRequest, token_id: int, *, thumbnail: bool = False) -> HttpResponse:
    """Answer with the image's bytes or a thumbnail of it; 403 without the right to see tokens."""
    rows = TokenImage.objects.filter(pk=token_id)
    data, mime_type = kept_image(rows, request.user, "tokens.view_token")
    if thumbnail:
        data, mime_type = make_thumbnail(data), "image/webp"
    return image_response(data, mime_type)


def kept_image(rows: QuerySet[Any], user: Any, permission: str) -> tuple[bytes, str]:
    """Return the bytes and the type of an image; raise `PermissionDenied` or `Http404`."""
    if not user.has_perm(permission):
        raise PermissionDenied
    data, mime_type = rows.values_list("data", "mime_type").first() or (None, "")
    if data is None:
        raise Http404("The bytes of this image are not kept (any more).")
    return bytes(data), mime_type


def image_response(data: bytes, mime_type: str) -> HttpResponse:
    """Return an image's bytes as nothing but an image, kept by the browser for ever."""
    known = mime_type in _SHOWN_TYPES
    response = HttpResponse(data, content_type=mime_type if known else "application/octet-stream")
    patch_cache_control(response, private=True, max_age=_MAX_AGE_SECONDS, immutable=True)
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def make_thumbnail(data: bytes) -> bytes:
    """Return a small WebP of an image; raises `Http404` if the bytes are not one."""
    from PIL import Image

    small = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            image.convert("RGB").save(small, "WEBP", quality=80)
    except (OSError, ValueError):
        raise Http404("This image cannot be drawn.") from None
    return small.getvalue()
