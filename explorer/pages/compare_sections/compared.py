"""What the sections of the Compare page show."""

from collections.abc import Mapping
from dataclasses import dataclass

from explorer.analysis.profile import Profile
from explorer.spec import ResNetSpec


@dataclass(frozen=True)
class Compared:
    """What stands side by side: networks and their profiles, by the name that each has on the page.

    A network that cannot be counted has no profile. `image_size` is for all, None where each has its own.
    """

    networks: Mapping[str, ResNetSpec | str]
    image_size: tuple[int, int] | None
    profiles: Mapping[str, Profile]

    @property
    def counted(self) -> dict[str, ResNetSpec | str]:
        """The networks that have a profile."""
        return {name: self.networks[name] for name in self.profiles}
