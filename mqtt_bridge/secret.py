"""A string that does not leak: str(), repr(), format() and JSON show stars. Call `reveal()` where it is used."""

from typing import final

STARS = "********"


@final
class Secret:
    """Holds a token, password or key. Equality is by value; it is hashable, so it can live in frozen settings."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself: for the one call that needs it, never for a message."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"Secret({STARS if self._value else ''})"

    def __str__(self) -> str:
        return STARS if self._value else ""

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")
