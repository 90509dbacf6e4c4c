"""An object inside the spec: its fields are taken by type, and whatever is not of that type is refused by its path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicom_operator import messages
from dicom_operator.api import Json
from dicom_operator.errors import SpecError


@dataclass(frozen=True, slots=True)
class Section:
    """An object inside the spec, with its path for error messages. Past it everything is typed."""

    value: Json
    path: str

    def __post_init__(self) -> None:
        if not isinstance(self.value, dict):
            raise SpecError(self.path, messages.must_be("an object", self.value))

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.value.get(name) is not None

    def section(self, name: str) -> Section:
        """A nested object; empty when absent."""
        found = self.value.get(name)
        return Section({} if found is None else found, f"{self.path}.{name}")

    def sections(self, name: str) -> list[Section]:
        """A list of objects; empty when absent."""
        return [Section(item, f"{self.path}.{name}[{index}]") for index, item in enumerate(self.items(name))]

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required without default."""
        found = self.value.get(name)
        if found is None:
            if default is None:
                raise SpecError(f"{self.path}.{name}", messages.required())
            return default
        if not isinstance(found, str):
            raise SpecError(f"{self.path}.{name}", messages.must_be("a string", found))
        return found

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A bounded integer."""
        found = self.value.get(name, default)
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise SpecError(f"{self.path}.{name}", messages.must_be(f"a whole number between {low} and {high}", found))
        return found

    def boolean(self, name: str) -> bool:
        """A boolean, false by default."""
        found = self.value.get(name, False)
        if not isinstance(found, bool):
            raise SpecError(f"{self.path}.{name}", messages.must_be("true or false", found))
        return found

    def choice(self, name: str, *choices: str) -> Any:
        """One of an enumeration; the first is the default."""
        found = self.value.get(name, choices[0])
        if found not in choices:
            raise SpecError(f"{self.path}.{name}", messages.must_be(f"one of {', '.join(choices)}", found))
        return found

    def items(self, name: str) -> list[Any]:
        """A list; empty when absent."""
        found = self.value.get(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise SpecError(f"{self.path}.{name}", messages.must_be("a list", found))
        return list(found)

    def strings(self, name: str) -> Mapping[str, str]:
        """A map of strings; empty when absent."""
        found = self.section(name).value
        if not all(isinstance(value, str) for value in found.values()):
            raise SpecError(f"{self.path}.{name}", messages.must_be("a map of strings", found))
        return dict(found)
