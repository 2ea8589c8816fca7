"""A named collection that things add themselves to.

Each family that comes in dozens (engine backends, model sources, file formats, tasks) owns one `Registry`. Adding a member
is one file and one line; asking for an unknown one answers with the nearest known names.

    backends: Registry[Backend] = Registry("engine")

    @backends.register("openvino")
    class OpenVINOBackend(Backend): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from llmos.errors import NotFound, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps a name to one instance. Members are made on registration: a class with no arguments is instantiated."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._members: dict[str, T] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Decorator for a class of `T` with a constructor of no arguments. A second member of the same name raises."""

        def add(cls: type[T]) -> type[T]:
            self.add(name, cls())
            return cls

        return add

    def add(self, name: str, member: T) -> None:
        if name in self._members:
            raise ValueError(f"{self.kind} {name!r} is registered twice: {self._members[name]!r} and {member!r}")
        self._members[name] = member

    def get(self, name: str) -> T:
        """The member of that name. Raises NotFound with the nearest known names."""
        if name not in self._members:
            raise NotFound(f"Unknown {self.kind} {name!r}.", hint=did_you_mean(name, self.names()))
        return self._members[name]

    def names(self) -> list[str]:
        return sorted(self._members)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter(sorted(self._members.items()))

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __len__(self) -> int:
        return len(self._members)
