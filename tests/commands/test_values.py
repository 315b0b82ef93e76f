"""Values that no option and no argument of any command takes: nothing, NaN, infinity."""

import math
import typing

import pytest
import typer
from typer.testing import CliRunner

from avqa.cli import app
from avqa.commands.values import Command


def commands(group, words=()):
    """Words of every command, its parameters, and the function behind it."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, word))
        else:
            yield (*words, word), command


ALL = dict(commands(typer.main.get_command(app)))
FLOATS = [
    (words, max(option.opts, key=len))
    for words, command in ALL.items()
    for option in command.params
    if "float" in str(typing.get_type_hints(command.callback)[option.name])
]


def avqa(*arguments):
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stderr


def test_every_command_looks_at_its_values():
    assert {words for words, command in ALL.items() if not isinstance(command, Command)} == set()
    assert {("extract",), ("import", "npy"), ("weights", "fetch")} <= ALL.keys()


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_an_empty_value_is_refused_by_every_option_and_argument(words):
    places = 0
    for parameter in ALL[words].params:
        flag = max(parameter.opts, key=len)
        name = parameter.metavar or parameter.name.upper()
        if parameter.param_type_name == "argument":
            places += 1
            typed = (*["x"] * (places - 1), "")
        elif getattr(parameter, "is_flag", False):
            continue
        else:
            name, typed = flag, (flag, "")
        expected = f"avqa: {name}=''; expected a value; give one\n"
        assert avqa(*words, *typed) == (2, expected)
    assert avqa("status", " ") == (2, "avqa: STORE=' '; expected a value; give one\n")


def test_numbers_are_finite():
    assert {flag for _, flag in FLOATS} == {
        *("--audio-hop", "--max-lost-sound", "--max-length", "--max-gap", "--video-timeout"),
        *("--decoder-memory", "--tolerance", "--wait-workers", "--missing-rate"),
    }
    for words, flag in FLOATS:
        for value in ("nan", "inf", "-inf", "1e400"):
            code, err = avqa(*words, *required(words), f"{flag}={value}")
            assert (code, flag in err) == (2, True), (words, flag, value, err)
            assert "internal error" not in err


def required(words):
    """Something for each parameter that a command must have."""
    values = []
    for parameter in ALL[words].params:
        if parameter.required:
            is_option = parameter.param_type_name == "option"
            values += [max(parameter.opts, key=len), "x"] if is_option else ["x"]
    return values


def test_infinity_by_default_would_be_refused_too(monkeypatch):
    # A bound below lets infinity pass; that of above does not, but a new option may have none.
    other = typer.Typer()

    @other.command(cls=Command)
    def wait(seconds: float = 1.0) -> None:
        assert math.isfinite(seconds)

    done = CliRunner().invoke(other, ["--seconds=inf"])
    assert (done.exit_code, done.stderr) == (
        2,
        "avqa: --seconds=inf; expected a finite number; give one\n",
    )
