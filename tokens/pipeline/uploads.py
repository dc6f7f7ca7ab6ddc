"""The two files of a token: what has to be pinned, under which name and CID."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from glisk.cid import compute_cid
from tokens.models import IPFSUploadRecord, Token
from tokens.models.artefact import UploadStatus, UploadType
from tokens.pipeline.calls import Captured, Upload


@dataclass(frozen=True)
class Files:
    """`done` names the kinds that are pinned; `tries` counts earlier attempts by kind."""

    files: list[Upload]
    metadata_cid: str
    done: set[str]
    tries: dict[str, int]


def load_files(token_ids: list[int]) -> dict[int, Files | None]:
    """Read the bytes of claimed tokens, and which of their files are pinned already."""
    if not token_ids:
        return {}
    tokens = Token.objects.select_related("image").in_bulk(token_ids)
    records: dict[int, list[IPFSUploadRecord]] = {}
    for record in IPFSUploadRecord.objects.filter(token_id__in=token_ids):
        records.setdefault(record.token_id, []).append(record)
    return {
        token_id: _files_of(tokens[token_id], records.get(token_id, [])) for token_id in token_ids
    }


def _files_of(token: Token, records: list[IPFSUploadRecord]) -> Files | None:
    image = getattr(token, "image", None)
    if image is None or image.data is None or not token.metadata_text or not token.image_cid:
        return None
    files = [
        _image_upload(
            token.token_id, bytes(image.data), image.mime_type, image.extension, token.image_cid
        ),
        _metadata_upload(token.token_id, token.metadata_text),
    ]
    cids = {upload.kind: upload.cid for upload in files}
    done = {
        record.upload_type
        for record in records
        if record.status == UploadStatus.SUCCEEDED
        and record.returned_cid == cids[record.upload_type]
    }
    tries = {kind: sum(r.upload_type == kind for r in records) for kind in cids}
    return Files(files, cids["metadata"], done, tries)


def fresh_files(token_id: int, *, image: Captured, metadata: str) -> Files:
    """Return the files of a token whose image was captured a moment ago."""
    uploads = [
        _image_upload(
            token_id, image.data, image.facts.mime, image_extension(image.facts.format), image.cid
        ),
        _metadata_upload(token_id, metadata),
    ]
    return Files(uploads, uploads[1].cid, set(), {})


def image_extension(image_format: str) -> str:
    return {"jpeg": "jpg"}.get(image_format, image_format)


def _image_upload(token_id: int, data: bytes, mime: str, extension: str, cid: str) -> Upload:
    name = f"s{settings.SEASON}-token-{token_id}.{extension}"
    # The stored CID decides: the setting may have changed since the image was captured.
    return Upload(UploadType.IMAGE, data, name, mime, cid, 0 if cid.startswith("Qm") else 1)


def _metadata_upload(token_id: int, text: str) -> Upload:
    data = text.encode()
    version = settings.METADATA_CID_VERSION
    cid = compute_cid(data, version=1 if version else 0)
    name = f"s{settings.SEASON}-token-{token_id}-metadata.json"
    return Upload(UploadType.METADATA, data, name, "application/json", cid, version)
