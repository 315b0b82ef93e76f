"""The documentation says what the program does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from avqa.errors import REASONS
from avqa.extract.profiles import PROFILES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_command_reference_is_up_to_date(tmp_path):
    made = tmp_path / "commands.md"
    command = [sys.executable, "-m", "typer", "avqa.cli", "utils", "docs", "--name", "avqa"]
    utf_8 = {**os.environ, "PYTHONUTF8": "1"}  # typer writes in the locale's encoding
    command += ["--output", str(made)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True, env=utf_8)
    assert made.read_text(encoding="utf-8") == (ROOT / "docs" / "commands.md").read_text(
        encoding="utf-8"
    ), "renew it: python -m typer avqa.cli utils docs --name avqa --output docs/commands.md"


def test_every_option_and_command_has_help():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    bare = [line for line in text.splitlines() if re.fullmatch(r"\* `--[^`]*`:?\s*", line)]
    assert not bare
    found = re.findall(r"^## `avqa ([a-z-]+)", text, re.MULTILINE)
    assert found == [
        *(
            "extract",
            "questions",
            "train-head",
            "pretrain-grounding",
            "evaluate",
            "table",
            "compare-runs",
            "score",
            "predict",
            "reproduce",
            "report",
        ),
        *("ask", "serve", "frames", "status", "verify", "finalize", "remove", "pack", "compare"),
        *(
            "synth",
            "encoders",
            "decoders",
            "heads",
            "profiles",
            "info",
            "import",
            "export",
            "weights",
        ),
    ]


def test_profiles_are_all_named_in_the_help():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if "--profile" in line)
    assert set(PROFILES) == set(re.findall(r"[a-z-]+", line.split(": ", 2)[2].split(";")[0]))


PAGES = ["README.md", *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("docs/**/*.md")))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_reasons_of_failures_are_documented():
    text = (ROOT / "docs" / "store.md").read_text(encoding="utf-8")
    missing = [reason for reason in REASONS if f"`{reason}`" not in text]
    assert not missing


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z-]+)", README)):
        assert f"\n{target}:" in makefile, target


def test_every_avqa_command_of_the_readme_exists():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for command in set(re.findall(r"^\$? ?avqa ([a-z]+)", README, re.MULTILINE)):
        assert f"## `avqa {command}" in text, command
