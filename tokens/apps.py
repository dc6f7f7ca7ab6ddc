from django.apps import AppConfig


class TokensConfig(AppConfig):
    name = "tokens"
    verbose_name = "Tokens"

    def ready(self) -> None:
        from glisk.engine.leases import register_lease_release, register_rescue
        from tokens.claims import release_leases_of, rescue_stalled

        register_lease_release(release_leases_of)
        register_rescue(rescue_stalled)
