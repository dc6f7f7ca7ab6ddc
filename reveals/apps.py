from django.apps import AppConfig


class RevealsConfig(AppConfig):
    name = "reveals"
    verbose_name = "Reveals"
