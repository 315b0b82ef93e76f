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
    Part("whole", 120, "Seconds of video per second, from file to store"),
    Part("networks", 70, "Rows per second of each network"),
    Part("training", 65, "Training, killed and resumed"),
    Part("asking", 55, "Asking a run that was made on the CPU"),
    Part("together", 35, "Two extractions on one GPU at once"),
    Part("memory", 20, "Out of memory"),
    Part("compiled", 30, "A compiled step of training"),
)
MINUTES = 8.0


def seconds_for(place: int, left: float, parts: tuple[Part, ...] = PARTS) -> float:
    """Seconds for the part at ``place``: its share among those to come of what is left."""
    return max(0.0, left) * parts[place].seconds / sum(part.seconds for part in parts[place:])
