from django.apps import AppConfig
from django.conf import settings


class TokensConfig(AppConfig):
    name = "tokens"
    verbose_name = "Tokens"

    def ready(self) -> None:
        from django.db.models.signals import post_save

        from authors.figures import providers
        from authors.models import Author
        from authors.onboarding import authors_written
        from glisk.engine.schedules import (
            declare,
            declare_drain,
            lease_releases,
            purges,
            rescues,
        )
        from tokens.minting.authorship import on_author_saved, on_authors_written
        from tokens.purging import purge_images, purge_samples
        from tokens.totals import author_figures
        from tokens.transitions.claims import release_leases_of, rescue_stalled

        # In seconds.
        often = settings.POLL_INTERVAL_SECONDS
        declare_drain("tokens.tasks.GenerationDrain", often, wanted=settings.ENABLE_IMAGE_WORKER)
        declare_drain("tokens.tasks.UploadDrain", often, wanted=settings.ENABLE_IPFS_WORKER)
        declare("look_at_chain", "tokens.tasks.look_at_chain", often)
        declare("prove_completeness", "tokens.tasks.prove_completeness", 180)
        declare("retry_failed", "tokens.tasks.retry_failed", 60)
        declare("add_up_timeline", "tokens.tasks.add_up_timeline", 60)
        declare("close_spend_days", "tokens.tasks.close_spend_days", 3600)
        lease_releases.append(release_leases_of)
        rescues.append(rescue_stalled)
        purges.extend((purge_images, purge_samples))
        providers.append(author_figures)
        authors_written.connect(on_authors_written, dispatch_uid="waiting_tokens")
        post_save.connect(on_author_saved, sender=Author, dispatch_uid="waiting_tokens")
