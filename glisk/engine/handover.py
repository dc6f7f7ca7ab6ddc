"""Which task this worker runs, so that a drain can enqueue its own successor."""

from typing import Any

from django_q.signals import pre_execute

from glisk.engine.broker import enqueue_here

_current: str | None = None


def _remember(sender: Any, func: Any, task: dict[str, Any], **kwargs: Any) -> None:
    global _current
    _current = task["func"] if isinstance(task.get("func"), str) else None


pre_execute.connect(_remember, dispatch_uid="glisk.engine.handover")


def enqueue_successor() -> bool:
    """Enqueue the task that runs here once more, for this worker; False outside of a task."""
    if _current is None:
        return False
    enqueue_here(_current)
    return True
