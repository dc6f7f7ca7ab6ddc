"""Model fields for Ethereum values, with their database rules, and what else models are made of."""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from django.core.exceptions import ValidationError
from django.db import models

from glisk.config.addresses import to_checksum_address

ADDRESS_PATTERN = r"^0x[0-9a-fA-F]{40}$"
_ADDRESS: Final = re.compile("0x[0-9a-fA-F]{40}")
_WORD: Final = re.compile("0x[0-9a-fA-F]{64}")
HASH_PATTERN = r"^0x[0-9a-f]{64}$"
ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"


def is_hash(value: object) -> TypeGuard[str]:
    """Tell whether a value is the text of a 32-byte word, 0x and hex in any letter case."""
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def is_address(value: object) -> TypeGuard[str]:
    """Tell whether a value is the text of an address, 0x and hex in any letter case."""
    return isinstance(value, str) and _ADDRESS.fullmatch(value) is not None


def normalise_address(value: str) -> str:
    """Return the address with its EIP-55 checksum; raise `ValidationError` if it is none."""
    if not is_address(value):
        raise ValidationError("This is not an Ethereum address (0x and 40 hex digits).")
    return _checksummed(value)


def parse_wallet(text: str) -> str | None:
    """Return the EIP-55 form of an address in any letter case, or None if it is no address."""
    if text.startswith("0X"):
        text = "0x" + text[2:]
    return _checksummed(text) if is_address(text) else None


@lru_cache(maxsize=4096)
def _checksummed(address: str) -> str:
    """Return the EIP-55 form; remembered, since each takes 0.1 ms."""
    return to_checksum_address(address)


class AddressField(models.CharField):
    """A 20-byte address, stored as EIP-55 checksummed text of 42 characters."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_length"] = 42
        super().__init__(*args, **kwargs)

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)
        return normalise_address(value) if value else value

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return normalise_address(value) if value else value


class HashField(models.CharField):
    """A 32-byte hash, stored as lower-case hex with 0x, 66 characters."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_length"] = 66
        super().__init__(*args, **kwargs)

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return value.lower() if isinstance(value, str) else value


class WeiField(models.DecimalField):
    """An amount in wei (uint256), stored as NUMERIC(78, 0)."""

    if TYPE_CHECKING:  # what from_db_value returns; django-stubs reads it here
        _pyi_private_get_type: int  # type: ignore[assignment]  # not the base class's Decimal

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_digits"] = 78
        kwargs["decimal_places"] = 0
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_digits"], kwargs["decimal_places"]
        return name, path, args, kwargs

    def from_db_value(self, value: Any, *args: Any) -> int | None:
        return None if value is None else int(value)


def partial_index(name: str, *fields: str, **condition: Any) -> models.Index:
    """Return an index of the rows of which the condition is true."""
    return models.Index(fields=fields, name=name, condition=models.Q(**condition))


def another_name(column: str, kind: "models.Field[Any, Any]") -> models.GeneratedField:
    """Return a column for SQL by hand that holds what another one holds, kept by PostgreSQL."""
    same = models.ExpressionWrapper(models.F(column), output_field=kind)
    return models.GeneratedField(expression=same, output_field=kind, db_persist=True)
