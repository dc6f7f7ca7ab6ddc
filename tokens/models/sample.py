"""A sample of a prompt: one paid image that belongs to no token."""

from django.db import models

from authors.models import PROMPT_MAX_LENGTH, Author
from tokens.models.job import JobService


class SampleStatus(models.TextChoices):
    CREATED = "created"  # asked for; nothing is paid yet
    CALLING = "calling"  # the paid call may be under way; it is never made a second time
    SUBMITTED = "submitted"  # the vendor has it and told us its id
    DONE = "done"
    FAILED = "failed"


OPEN_SAMPLE_STATUSES = (SampleStatus.CREATED, SampleStatus.CALLING, SampleStatus.SUBMITTED)


class PromptSample(models.Model):
    author = models.ForeignKey(Author, on_delete=models.PROTECT, related_name="samples")
    prompt = models.TextField(max_length=PROMPT_MAX_LENGTH)
    actor = models.CharField(max_length=200)
    status = models.CharField(
        max_length=20, choices=SampleStatus.choices, default=SampleStatus.CREATED
    )
    input = models.JSONField()  # with a seed of its own: a lost reply is found again by it
    service = models.CharField(
        max_length=20, choices=JobService.choices, default=JobService.REPLICATE
    )
    model = models.CharField(max_length=200)
    external_id = models.CharField(max_length=100, null=True, blank=True, unique=True)
    # From the beginning, so that the day's cap holds; NULL if surely nothing was paid.
    cost_usd = models.DecimalField(max_digits=10, decimal_places=6, null=True, blank=True)
    data = models.BinaryField(null=True)  # purged some days after its end
    mime_type = models.CharField(max_length=40, blank=True, default="")
    error = models.TextField(blank=True, default="")
    busy_until = models.DateTimeField(null=True, blank=True)  # a worker has it until then
    created_at = models.DateTimeField(auto_now_add=True)
    called_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "prompt_samples"
        constraints = [
            # A double click pays once.
            models.UniqueConstraint(
                fields=["author"],
                condition=models.Q(status__in=OPEN_SAMPLE_STATUSES),
                name="prompt_sample_one_open_per_author",
            ),
        ]
        indexes = [
            models.Index(fields=["created_at"], name="prompt_sample_created"),  # the spend
            models.Index(
                fields=["completed_at"],
                name="prompt_sample_kept",  # the purge
                condition=models.Q(data__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"sample {self.pk} ({self.status})"

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_SAMPLE_STATUSES
