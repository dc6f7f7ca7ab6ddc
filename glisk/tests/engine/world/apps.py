from django.apps import AppConfig
from django.conf import settings


class WorldConfig(AppConfig):
    name = "glisk.tests.engine.world"
    label = "engine_world"

    def ready(self) -> None:
        from glisk.engine import schedules
        from glisk.tests.engine.world import jobs

        schedules.forget_all()
        for stage in ("alpha", "beta"):
            schedules.declare(
                stage, f"glisk.tests.engine.world.jobs.run_{stage}", settings.POLL_INTERVAL_SECONDS
            )
        schedules.declare_drain(
            "glisk.tests.engine.world.jobs.GammaDrain",
            settings.POLL_INTERVAL_SECONDS,
            wanted=settings.DO_GAMMA,  # type: ignore[misc]  # the world's own setting
        )
        schedules.lease_releases.append(jobs.release_of)
        schedules.rescues.append(jobs.rescue)
