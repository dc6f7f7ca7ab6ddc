"""Texts of a request's body, taken as they are or not at all."""

from typing import Any

from rest_framework import serializers


class StrictCharField(serializers.CharField):
    """A text that is a JSON string; DRF would turn a number or a boolean into one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text
