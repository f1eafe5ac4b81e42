"""Values that are made for every message: dataclasses whose fields are set once.

A frozen dataclass takes three times as long to make, because each field is set through a call. So these are frozen for
the type checker alone: mypy refuses an assignment to a field, nothing does at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        """What type checkers need to know of a decorator; nothing at run time."""
        return lambda decorator: decorator


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """A dataclass with slots. Compared, and hashed, by its fields."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def named_value(cls: type[T]) -> type[T]:
    """The same; its fields are given by name."""
    return dataclass(slots=True, unsafe_hash=True, kw_only=True)(cls)
