"""What no option and no argument of any command takes: nothing, and a number that is none.

An empty value is refused before it becomes a path, which would be the current folder.
"""

from __future__ import annotations

import math
from typing import Any

import typer
from typer.core import TyperCommand

from avqa.commands.reporting import say
from avqa.errors import ConfigError


class Command(TyperCommand):
    """A command whose values are looked at as they were typed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse empty values, and numbers that are not finite, with one line and exit code 2."""
        typed, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in self.get_params(ctx):
            given = typed.get(parameter.name)
            for value in given if isinstance(given, list | tuple) else [given]:
                if isinstance(value, str) and not value.strip() and not ctx.resilient_parsing:
                    _refuse(parameter, value, "a value")
        rest: list[str] = super().parse_args(ctx, args)
        for parameter in self.get_params(ctx):
            value = ctx.params.get(parameter.name)
            if isinstance(value, float) and not math.isfinite(value):
                _refuse(parameter, value, "a finite number")
        return rest


def _refuse(parameter: Any, value: object, expected: str) -> None:
    """Options are called by their flag, arguments as the help calls them."""
    name = parameter.metavar or parameter.name.upper()
    if parameter.param_type_name == "option":
        name = max(parameter.opts, key=len)
    say(f"avqa: {name}={value!r}; expected {expected}; give one")
    raise typer.Exit(ConfigError.exit_code)
