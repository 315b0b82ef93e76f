"""What papers print, in one table: each figure once, with everyone who prints it."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avqa import heads
from avqa.heads import Figures, Paper, Recipe
from avqa.training.table.published import Scope, all_published_rows, merged, published_rows

PAPERS = [heads.load(name).PAPER for name in heads.names()]
MUSIC = Scope("music-avqa", "updated", "test", True)
AVQA = Scope("avqa", "released", "test", True)


def test_one_baseline_of_several_papers_is_one_row():
    one = Figures("HME", "A, Table 1", {"A-Avg": 1.0, "All": 2.0}, "u", note="x is wrong; y")
    same = replace(one, source="B, Table 2", note="x is wrong")
    part = Figures("HME", "C, Table 3", {"All": 2.0}, "u", parameters_millions=4.0, gflops=5.0)
    other = Figures("HME", "D, Table 4", {"A-Avg": 1.5, "All": 2.0}, "u")
    found = merged([part, one, other, same])
    assert found == [
        replace(
            one,
            source="C, Table 3; A, Table 1; B, Table 2",
            parameters_millions=4.0,
            gflops=5.0,
        ),
        other,
    ]
    assert merged(found) == found


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.dictionaries(
                st.sampled_from(["A-Avg", "V-Avg", "All"]), st.integers(1, 2), min_size=1
            ),
        ),
        max_size=8,
    )
)
def test_no_row_is_lost_and_none_is_made_up(rows):
    figures = [Figures(name, f"P, Table {n}", v) for n, (name, v) in enumerate(rows)]
    found = merged(figures)
    for row in figures:
        assert any(
            row.name == one.name
            and row.source in one.source.split("; ")
            and not (row.values.keys() == one.values.keys() and row.values != one.values)
            for one in found
        )
    assert all((one.name, one.values) in rows for one in found)
    assert sorted(s for one in found for s in one.source.split("; ")) == sorted(
        row.source for row in figures
    )


@pytest.mark.parametrize("scope", [MUSIC, AVQA], ids=lambda scope: scope.dataset)
def test_each_name_stands_once_for_all_papers(scope):
    rows = list(all_published_rows(PAPERS, scope))
    assert {name: n for name, n in Counter(row.name for row in rows).items() if n > 1} == {}
    own = {row.name for paper in PAPERS for row in published_rows(paper, scope)}
    assert own <= {row.name for row in rows}


def test_what_all_papers_print_on_music_avqa():
    rows = {row.name: row for row in all_published_rows(PAPERS, MUSIC)}
    assert len(rows) == 50
    assert list(rows)[:2] == ["AVST", "AVST, updated annotation"]  # the oldest paper
    assert list(rows)[-1] == "Pano-AVQA, in AVAF-Net"
    hcattn = rows["HCAttn"]
    assert (hcattn.cells["All"].mean, hcattn.mark) == (62.45, "u")
    assert hcattn.note == (
        "PSTP-Net, Table 1; MCD, Table III; AV-Exist 79.48 is a misprint for 79.45: 785 of 988;"
        " AV-Avg 60.32 follows"
    )
    marks = {name: row.mark for name, row in rows.items() if name.startswith(("HME", "AVSD"))}
    assert marks == {
        "HME on MUSIC-AVQA-Real": "u*",
        "AVSD on MUSIC-AVQA-Real": "u*",
        "HME, in AVAF-Net": "o!*",
        "HME, in PSTP-Net": "u!",
        "AVSD, in AVAF-Net": "o*",
        "AVSD, in PSTP-Net": "u",
        "AVSD, in TJSTG": "u!",
    }
    assert rows["PSTP-Net [CLIP B/32]"].mark == "o/?!*"
    assert rows["AVST, updated annotation"].parameters == 18_480_000
    assert rows["AVST w/ T-A"].cells["V-Avg"].mean == 76.34
    assert rows["TJSTG, dual stream"].parameters == 14_600_000
    assert rows["QAGL"].note.startswith("AVAF-Net, Table 2; V-Avg 78.89 is a misprint for 78.98: ")


def test_what_all_papers_print_on_avqa():
    rows = {row.name: row for row in all_published_rows(PAPERS, AVQA)}
    accuracies = {name: row.cells["All"].mean for name, row in rows.items()}
    assert accuracies == {
        "MCD on AVQA": 90.78,
        "PSTP-Net on AVQA": 90.2,
        "SaSR-Net, AVQA": 89.9,
        "HME + HAVF": 85.0,
        "PSAC + HAVF": 87.4,
        "LADNet + HAVF": 84.1,
        "ACRTransformer + HAVF": 87.8,
        "HGA + HAVF": 87.7,
        "HCRN + HAVF": 89.0,
    }
    assert rows["HCRN + HAVF"].note == "PSTP-Net, Table 4; MCD, Table V; SaSR-Net, Table 4"
    assert rows["ACRTransformer + HAVF"].note == "PSTP-Net, Table 4; MCD, Table V"
    assert {row.mark for row in rows.values()} == {"?"}


def test_a_paper_of_a_plug_in_needs_no_figures():
    paper = Paper("t", "v", "u", Recipe(1e-3, 1, 1, 1, 1.0), parameters_millions=1.0)
    assert list(published_rows(paper, MUSIC)) == []
    assert list(all_published_rows([paper], MUSIC)) == []
