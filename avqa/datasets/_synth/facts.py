"""What a score says, in the terms that questions use."""

from __future__ import annotations

from collections.abc import Sequence

from avqa.datasets._synth.score import PLACES, Player, Scene


class Facts:
    """Who is seen, who is heard, who stands where and who begins when."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.visible = [p for p in scene.players if p.place]
        self.sounding = [p for p in scene.players if p.sounds]
        self.seen = {p.instrument for p in self.visible}
        self.heard = {p.instrument for p in self.sounding}
        self.all_visible = all(p.place for p in self.sounding)
        """Nothing sounds from off screen."""
        self.by_start = sorted(self.sounding, key=lambda p: p.sounds[0][0])

    def only(self, instrument: str) -> Player | None:
        """The player of an instrument, on screen or off, if there is just one."""
        found = [p for p in self.scene.players if p.instrument == instrument]
        return found[0] if len(found) == 1 else None

    def at(self, place: str) -> Player | None:
        """The player at a place, if there is just one."""
        found = [p for p in self.visible if p.place == place]
        return found[0] if len(found) == 1 else None

    def beside(self, player: Player, side: str) -> Player | None:
        """The player on the left or right of another, if there is just one."""
        if player.place is None:
            return None
        own = PLACES.index(player.place)
        others = PLACES[:own] if side == "left" else PLACES[own + 1 :]
        found = [p for p in self.visible if p.place in others]
        return found[0] if len(found) == 1 else None

    def extreme(self, word: str, among: Sequence[Player] | None = None) -> Player | None:
        """Who sounds ``first`` or ``last`` of two or more, by a second or more.

        The first begins alone; the last begins alone, and nobody sounds after it.
        """
        order = sorted(self.sounding if among is None else among, key=lambda p: p.sounds[0][0])
        if len(order) < 2:
            return None
        player, next_one = (order[0], order[1]) if word == "first" else (order[-1], order[-2])
        if player.sounds[0][0] == next_one.sounds[0][0]:
            return None
        if word == "last" and player.sounds[-1][1] < max(p.sounds[-1][1] for p in order):
            return None
        return player
