"""What can be set about a method: from this the app draws its controls, and `attribute` checks what it is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from explorer.errors import Refusal


@dataclass(frozen=True)
class Parameter:
    """One setting.

    Attributes:
        name: as an argument. label: on screen, with its unit. help: what it does, in a sentence or two.
        default: what it is unless told; its type is the parameter's.
        low, high, step: ends of a number, and how far a slider goes at once.
        choices: of a word, by the names on screen.
    """

    name: str
    label: str
    help: str
    default: Any
    low: float = 0
    high: float = 0
    step: float = 1
    choices: Mapping[str, str] | None = None

    def checked(self, value: Any) -> Any:
        """The value in the parameter's own type.

        Raises:
            Refusal: it is none that the parameter takes.
        """
        told = f"{self.name} (={value!r}) must be"
        if self.choices is not None:
            if not isinstance(value, str) or value not in self.choices:
                raise Refusal(f"{told} one of {', '.join(self.choices)}.")
            return value
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise Refusal(f"{told} True or False.")
            return value
        whole = isinstance(self.default, int)
        # numpy's numbers count, and bool does not
        number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
        if not (number and self.low <= value <= self.high):  # nor is nan
            raise Refusal(f"{told} {self._range(whole)}.")
        return int(value) if whole else float(value)

    def _range(self, whole: bool) -> str:
        return f"a {'whole ' if whole else ''}number from {self.low:g} to {self.high:g}"


def checked(parameters: tuple[Parameter, ...], given: Mapping[str, Any], method: str) -> dict[str, Any]:
    """All settings of a method, those that are given and the defaults of the rest.

    Raises:
        Refusal: one that the method does not have, or a value that it does not take.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            has = f"has {', '.join(known)}" if known else "has no settings"
            raise Refusal(f"{name} (={given[name]!r}) is no setting of {method}, which {has}.")
    return {name: parameter.checked(given.get(name, parameter.default)) for name, parameter in known.items()}
