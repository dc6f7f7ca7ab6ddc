"""What is paid for: image generations, samples of prompts, and the sums of closed days.

Each row exists before the call that costs money.
"""

from django.db import models

from authors.models import PROMPT_MAX_LENGTH, Author
from glisk.fields import another_name, partial_index
from tokens.models.token import Token


class JobStatus(models.TextChoices):
    CREATED = "created"  # the call may be under way; its outcome is not known yet
    SUBMITTED = "submitted"  # the vendor has it and told us its id
    SUCCEEDED = "succeeded"  # the vendor made the image; its bytes are still to be fetched
    CAPTURED = "captured"  # the bytes are in our database
    ERRORED = "errored"  # the vendor made none; what that means for the token is not decided yet
    FAILED = "failed"
    REJECTED = "rejected"  # the vendor surely never accepted the call; nothing was paid


OPEN_JOB_STATUSES = (
    JobStatus.CREATED,
    JobStatus.SUBMITTED,
    JobStatus.SUCCEEDED,
    JobStatus.ERRORED,
)


class JobService(models.TextChoices):
    REPLICATE = "replicate"
    SELFHOSTED = "selfhosted"


class ImageGenerationJob(models.Model):
    # By its number, without a constraint: books are kept of tokens that a reorg took away too.
    token = models.ForeignKey(
        Token, on_delete=models.DO_NOTHING, db_constraint=False, related_name="generation_jobs"
    )
    prompt = models.TextField()
    prompt_text = another_name("prompt", models.TextField())
    # What was sent, with a seed of its own: the listing finds a lost reply by it.
    input = models.JSONField()
    service = models.CharField(max_length=20, choices=JobService.choices)
    model = models.CharField(max_length=200)
    external_id = models.CharField(max_length=100, null=True, blank=True)
    attempt_number = models.PositiveIntegerField()
    status = models.CharField(max_length=20, choices=JobStatus.choices, default=JobStatus.CREATED)
    output_url = models.TextField(null=True, blank=True)
    # Reserved when the row is written; NULL once the vendor surely refused the call.
    cost_usd = models.DecimalField(
        "cost (USD)", max_digits=10, decimal_places=6, null=True, blank=True
    )
    predict_time_seconds = models.FloatField(null=True, blank=True)
    error_class = models.CharField(max_length=40, blank=True, default="")
    error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    # When the vendor is asked about it next, if nobody tells us before; and how often it was asked
    # in vain about a call whose reply was lost.
    look_at = models.DateTimeField(null=True, blank=True)
    looks = models.PositiveIntegerField(default=0, db_default=0)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "image_generation_jobs"
        verbose_name = "generation job"
        constraints = [
            models.UniqueConstraint(
                fields=["service", "external_id"], name="generation_job_external_id_unique"
            ),
            models.UniqueConstraint(
                fields=["token"],
                condition=models.Q(status__in=OPEN_JOB_STATUSES),
                name="generation_job_one_open_per_token",
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=["submitted", "succeeded", "errored", "captured"])
                | models.Q(external_id__isnull=False),
                name="generation_job_submitted_has_id",
            ),
        ]
        indexes = [
            # the admin's filter by what went wrong
            partial_index(
                "generation_job_trouble", "status", "-id", status__in=["failed", "rejected"]
            ),
            # the survey of the open jobs, and the claim of those that have an image to collect
            partial_index("generation_job_open", "created_at", status__in=OPEN_JOB_STATUSES),
            # the steps poll and find: whose time has come
            partial_index("generation_job_look", "look_at", status__in=["created", "submitted"]),
            # tokens.totals: the sums of the open days, and of today before every paid call
            models.Index(
                fields=["created_at"],
                name="generation_job_spend",
                include=["service", "model", "cost_usd"],
                condition=models.Q(cost_usd__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"job {self.pk} ({self.status})"


class SampleStatus(models.TextChoices):
    CREATED = "created"  # asked for; nothing is paid yet
    CALLING = "calling"  # the paid call may be under way; it is never made a second time
    SUBMITTED = "submitted"  # the vendor has it and told us its id
    DONE = "done"
    FAILED = "failed"


OPEN_SAMPLE_STATUSES = (SampleStatus.CREATED, SampleStatus.CALLING, SampleStatus.SUBMITTED)


class PromptSample(models.Model):
    """A sample of a prompt: one paid image that belongs to no token."""

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
    cost_usd = models.DecimalField(
        "cost (USD)", max_digits=10, decimal_places=6, null=True, blank=True
    )
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
            partial_index("prompt_sample_kept", "completed_at", data__isnull=False),  # the purge
        ]

    def __str__(self) -> str:
        return f"sample {self.pk} ({self.status})"

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_SAMPLE_STATUSES


class DailySpend(models.Model):
    """What one model at one service has cost on one UTC day (tokens/totals.py)."""

    day = models.DateField()
    service = models.CharField(max_length=20)
    model = models.CharField(max_length=200)
    predictions = models.PositiveIntegerField()
    cost_usd = models.DecimalField(max_digits=14, decimal_places=6)

    class Meta:
        db_table = "daily_spend"
        constraints = [
            models.UniqueConstraint(fields=["day", "service", "model"], name="daily_spend_once")
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.service} {self.model}"
