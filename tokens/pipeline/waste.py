"""Stop paying when images are paid for in vain, one after the other.

An output host that is not allowed, a model that makes larger images than we take, or none at
all: each token would be paid for, and fail. No breaker sees it, since the vendor answers well.
"""

from __future__ import annotations

from django.conf import settings
from django.db import connection

from glisk.pauses import pause_stage

ACTOR = "spend guard"
_LOOK_BACK = 2000  # among them may be open ones, refused prompts, and those before a resume


def pause_if_wasted(problem: str) -> bool:
    """Pause the generation if the last images that were paid for were all of no use.

    How many: `GENERATION_PAUSE_AFTER_WASTED`, 0 for never. `problem` is the newest one's. Blank
    pictures are refused prompts, and don't count. An operator's resume begins the count anew.
    Returns whether it was paused now.
    """
    limit: int = settings.GENERATION_PAUSE_AFTER_WASTED
    if not limit or _wasted_in_a_row(limit) < limit:
        return False
    return pause_stage(
        "generation",
        actor=ACTOR,
        reason=f"The last {limit} images were paid for and of no use. {problem} Mend the cause, "
        "then resume the generation and retry the failed tokens.",
    )


def _wasted_in_a_row(limit: int) -> int:
    """Count the newest jobs that ended well for the vendor, back to the last image we kept."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT status
            FROM (SELECT * FROM image_generation_jobs ORDER BY id DESC LIMIT %s) newest
            WHERE status IN ('captured', 'failed')
              AND (output_url IS NOT NULL OR error_class = 'no_image')
              AND error_class <> 'content_policy'
              AND completed_at > COALESCE(
                  (SELECT max(at) FROM operator_actions
                   WHERE action = 'resume_stage' AND subject = 'generation'), '-infinity')
            ORDER BY id DESC LIMIT %s
            """,
            [limit + _LOOK_BACK, limit],
        )
        statuses = [status for (status,) in cursor.fetchall()]
    kept = [place for place, status in enumerate(statuses) if status == "captured"]
    return kept[0] if kept else len(statuses)
