from django.apps import AppConfig


class AuthorsConfig(AppConfig):
    name = "authors"
    verbose_name = "Authors"

    def ready(self) -> None:
        from authors.signatures.offers import purge_nonces
        from glisk.engine.leases import register_purge

        register_purge(purge_nonces)
