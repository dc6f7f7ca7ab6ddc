from django.apps import AppConfig


class AuthorsConfig(AppConfig):
    name = "authors"
    verbose_name = "Authors"

    def ready(self) -> None:
        from authors.farcaster_linking import purge_spent_messages
        from authors.signatures.offers import purge_nonces
        from authors.x_linking import purge_link_requests
        from glisk.engine.leases import register_purge

        register_purge(purge_nonces)
        register_purge(purge_link_requests)
        register_purge(purge_spent_messages)
