"""The parts of the check, in their order: what is wanted most comes first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One part; its module has a ``measure(run)``."""

    name: str
    seconds: float
    """Its share of the whole; what earlier parts leave is shared out."""
    what: str
    package: str = "benchmarks.gpu"

    @property
    def module(self) -> str:
        """Of the same name."""
        return f"{self.package}.{self.name}"


PARTS = (
    Part("machine", 25, "The machine, and weights for all parts"),
    Part("rows", 60, "Rows on the GPU against rows on the CPU"),
    Part("whole", 125, "Seconds of video per second, from file to store"),
    Part("networks", 75, "Rows per second of each network"),
    Part("training", 70, "Training, killed and resumed"),
    Part("asking", 60, "Asking a run that was made on the CPU"),
    Part("together", 40, "Two extractions on one GPU at once"),
    Part("memory", 25, "Out of memory"),
)
MINUTES = 8.0


def seconds_for(place: int, left: float, parts: tuple[Part, ...] = PARTS) -> float:
    """Seconds for the part at ``place``: its share among those to come of what is left."""
    return max(0.0, left) * parts[place].seconds / sum(part.seconds for part in parts[place:])
