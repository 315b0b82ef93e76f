"""A head's page and the list of profiles say what the code does."""

import dataclasses
import re

import pytest

from avqa import heads
from avqa.errors import UnknownName
from avqa.extract.profiles import PROFILES, WHY
from avqa.pipelines.described import field_docs, frame_mode_lines, head_page, profile_lines
from avqa.training.settings import DERIVED, TrainSettings


@pytest.mark.parametrize("name", heads.names())
def test_the_page_of_a_head_has_all_that_can_be_chosen(name):
    module, text = heads.load(name), "\n".join(head_page(name).lines())
    flat = " ".join(text.split())
    assert module.PAPER.title in text
    assert f"learning_rate={module.PAPER.recipe.learning_rate}" in text
    for field in dataclasses.fields(module.Options):
        assert (f"  {field.name}=" in text) == (field.name not in DERIVED)
    for field in dataclasses.fields(TrainSettings):
        assert f"  {field.name}=" in text
    for dataset, entry in module.PAPER.datasets.items():
        values = " ".join(f"{key}={value}" for key, value in entry.values.items())
        assert f" with --dataset {dataset}, each value to be changed" in flat
        assert f" --set NAME=VALUE {values} note: {entry.note} " in flat
    for row in module.ABLATIONS:
        assert f"  {row}: " in text
    for figures in module.PAPER.figures:
        assert f" {figures.name}: " in flat
    for other in module.PAPER.references:
        assert f"  {other.name}: " in text
    assert max(map(len, text.splitlines()[1:])) <= 100


def test_an_option_shows_its_default_its_other_values_and_why():
    lines = head_page("pstp").lines()
    told = (
        "  question=clip|lstm|positions  Question encoder: learnt words through an LSTM, a learnt"
    )
    assert told in "\n".join(lines)
    assert "  avf=true|false  Fuse audio and frame inside segments first" in "\n".join(lines)
    assert "  full: as it is  [70.91 / 77.26 / 72.57 / 73.52 !]" in lines
    with pytest.raises(UnknownName, match="no head 'pst'; did you mean 'pstp'"):
        head_page("pst")


def test_rows_are_shown_with_their_averages_and_what_is_wrong_with_them():
    avaf, sasr, mcd = ("\n".join(head_page(name).lines()) for name in ("avaf", "sasr", "mcd"))
    assert "  no_qoaf: qoaf=false  [75.36 / 77.50 / 69.41 / 72.78 !]\n" in avaf
    assert "  GRU: 70.24 / 68.93 / 65.18 / 67.07 (o; AVAF-Net, Table 2; equals AVST's " in avaf
    assert "  HCRN + HAVF: AVQA 89.0 (?; SaSR-Net, Table 4)\n" in sasr
    assert "  bilstm: text_encoder=bilstm  [76.84 / 81.12 / 74.98 / –]\n" in mcd
    assert "  no_sa: loss_qv=false loss_qa=false loss_av=false  [AVQA 89.5]\n" in mcd
    # Twice in the paper's tables, of which one has the cells.
    assert (
        mcd.count("  AVST, updated annotation: 73.87 / 74.40 / 69.53 / 71.59 (u; MCD, Table ") == 1
    )
    assert "other methods in the paper's tables" not in "\n".join(head_page("avst").lines())


def test_docs_of_fields_are_those_of_the_nearest_class():
    class Base:
        one: int = 1
        """First."""
        two: int = 2
        """Second."""

    class Other(Base):
        two: int = 3
        """Another
        ``second``."""
        three: int = 4

    assert field_docs(Other) == {"one": "First.", "two": "Another second."}


def test_every_profile_is_listed_with_what_it_sets():
    assert PROFILES.keys() == WHY.keys()
    lines = profile_lines()
    for name, settings in PROFILES.items():
        place = next(n for n, line in enumerate(lines) if line.startswith(f"  {name}: "))
        assert f"--frame-at {settings.frame_at} " in lines[place + 2]


def test_the_drawing_has_each_frame_where_it_is():
    drawn = {line.split()[0]: line for line in frame_mode_lines()[2:]}
    ruler = frame_mode_lines()[1]
    second = {k: ruler.index(f"|{k} s") for k in range(5)}
    assert [drawn["start"].index(str(k)) for k in range(5)] == [*second.values()]
    for k in range(5):  # half a second later, less than a frame early
        assert 5 <= drawn["mid"].index(str(k)) - second[k] <= 6
    assert re.search(r"T=60, \d+ of them repeat frames$", drawn["music-avqa"])
