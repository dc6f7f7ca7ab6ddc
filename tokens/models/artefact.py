"""What becomes of a token on IPFS: the image's bytes and each attempt to pin something."""

from django.contrib.postgres.indexes import HashIndex
from django.db import models

from glisk.fields import another_name, partial_index
from tokens.models.token import Token


class TokenImage(models.Model):
    """The image's bytes as generated; any worker on any machine goes on from here."""

    token = models.OneToOneField(
        Token, on_delete=models.CASCADE, primary_key=True, related_name="image"
    )
    data = models.BinaryField(null=True)  # purged some days after the reveal
    mime_type = models.CharField(max_length=40)
    extension = models.CharField(max_length=10)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    size_bytes = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "token_images"
        indexes = [
            # tokens.purging: the few whose bytes are still here
            partial_index("token_image_kept", "created_at", data__isnull=False),
        ]

    def __str__(self) -> str:
        return f"image of {self.token_id}"


class UploadType(models.TextChoices):
    IMAGE = "image"
    METADATA = "metadata"


class UploadStatus(models.TextChoices):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    MISMATCH = "mismatch"  # the vendor answered with another CID: a hard stop


class IPFSUploadRecord(models.Model):
    """One attempt to pin one file."""

    # By its number, without a constraint: books are kept of tokens that a reorg took away too.
    token = models.ForeignKey(
        Token, on_delete=models.DO_NOTHING, db_constraint=False, related_name="upload_records"
    )
    upload_type = models.CharField("file", max_length=10, choices=UploadType.choices)
    computed_cid = models.CharField(max_length=100)
    ipfs_cid = another_name("computed_cid", models.CharField(max_length=100))
    returned_cid = models.CharField(max_length=100, blank=True, default="")
    size_bytes = models.PositiveIntegerField()
    attempt_number = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=UploadStatus.choices)
    error_class = models.CharField(max_length=40, blank=True, default="")
    error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "ipfs_upload_records"
        verbose_name = "IPFS upload"
        constraints = [
            # One pinned file of each kind per token and CID is enough to know.
            models.CheckConstraint(
                condition=~models.Q(status="succeeded")
                | models.Q(returned_cid=models.F("computed_cid")),
                name="upload_record_success_means_equal_cids",
            ),
        ]
        indexes = [
            # the admin's search by CID
            HashIndex(fields=["computed_cid"], name="upload_record_cid"),
            # the admin's filter by what went wrong
            partial_index(
                "upload_record_trouble", "status", "-id", status__in=["failed", "mismatch"]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.upload_type} {self.computed_cid}"
