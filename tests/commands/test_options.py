"""An option that several commands have says the same in each one's help."""

from typing import get_args

import click
import typer

from avqa.cli import app
from avqa.commands import options


def shared():
    """Flag → the help that `avqa.commands.options` gives it."""
    found = {}
    for declared in vars(options).values():
        for about in get_args(declared)[1:]:
            for flag in getattr(about, "param_decls", None) or ():
                assert found.setdefault(flag, about.help) == about.help
    return found


def commands(group, name):
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def test_shared_options_have_the_same_help_everywhere():
    texts, seen, differing = shared(), set(), {}
    for name, command in commands(typer.main.get_command(app), "avqa"):
        for parameter in command.params:
            for flag in texts.keys() & set(parameter.opts):
                seen.add(flag)
                if parameter.help != texts[flag]:
                    differing[name, flag] = parameter.help
    assert differing == {}
    assert seen == texts.keys()  # each has a command
