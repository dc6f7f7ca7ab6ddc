"""The alarms that last, as the tests of whoever raises them see them."""

from glisk.engine.heartbeat import PREFIX, Alarm, read_alarm
from glisk.models import SystemState


def alarms() -> list[Alarm]:
    rows = SystemState.objects.filter(state_key__startswith=PREFIX).order_by("state_key")
    found = (read_alarm(row) for row in rows)
    return [alarm for alarm in found if alarm is not None]
