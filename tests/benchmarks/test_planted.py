"""The benchmark of planted evidence: how a case is trained, and the table made of what is kept."""

import pytest
import torch

from benchmarks import planted, planted_cases
from benchmarks.planted_cases import CASES, Case


@pytest.fixture
def rates(monkeypatch):
    """The learning rate of every step."""
    found = []
    step = torch.optim.Adam.step

    def watched(self, *args, **kwargs):
        found.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    return found


def test_a_case_is_trained_at_its_rate_which_falls_at_the_end(one_thread, rates, monkeypatch):
    case = Case("question_only", "worded", "", {"question": "clip"}, steps=10, rate=3e-4)
    monkeypatch.setattr(planted, "SCORED", 64)
    monkeypatch.setattr(planted, "CASES", [case])
    found = planted.train(0, seed=0)
    assert 0 <= found["accuracy"] < 20  # 32 answers, and nothing that tells
    assert rates == pytest.approx([3e-4] * 8 + [2e-4, 1e-4])


@pytest.fixture
def page(tmp_path, monkeypatch):
    path = tmp_path / "heads.md"
    path.write_text(f"before\n{planted.START}\n{planted.END}\nbehind\n", encoding="utf-8")
    monkeypatch.setattr(planted, "PAGE", path)
    monkeypatch.setattr(planted, "KEPT", tmp_path / "kept.json")
    measures = {"found": planted_cases.peak_second("x")}
    cases = [Case("pstp", "second", "default"), Case("avst", "second", "", measures=measures)]
    monkeypatch.setattr(planted, "CASES", cases)
    return path


def test_rows_of_what_is_kept_and_of_what_was_kept_elsewhere(page):
    pstp, avst = planted.CASES
    results = planted.Results.load()
    results.keep(pstp.key(0), {"accuracy": 99.6, "seconds": 1.0})
    planted.write_table(results)
    assert "| pstp | second | default | 800 | 100 |  |\n" in page.read_text(encoding="utf-8")
    planted.KEPT.unlink()  # as in another checkout
    results = planted.Results.load()
    for seed, found in enumerate((0.25, 0.75)):
        results.keep(avst.key(seed), {"accuracy": 10.0 + seed, "seconds": 1.0, "found": found})
    planted.write_table(planted.Results.load())
    assert page.read_text(encoding="utf-8").splitlines()[5:8] == [
        "| pstp | second | default | 800 | 100 |  |",
        "| avst | second |  | 800 | 10 (10 to 11) | found 0.50 (0.25 to 0.75) |",
        "",
    ]
    assert page.read_text(encoding="utf-8").startswith(f"before\n{planted.START}\n")
    assert page.read_text(encoding="utf-8").endswith(f"{planted.END}\nbehind\n")


def test_the_published_table_has_every_case_and_no_other():
    table = planted.PAGE.read_text(encoding="utf-8").partition(planted.START)[2]
    lines = [line for line in table.partition(planted.END)[0].splitlines() if line[:1] == "|"]
    found = [tuple(cell.strip() for cell in line.strip("|").split("|"))[:4] for line in lines[2:]]
    assert found == [(case.head, case.task, case.form, str(case.steps)) for case in CASES]


def test_a_form_says_its_rate():
    for case in CASES:
        _, _, said = case.form.partition("rate ")
        assert case.rate == float(said or 1e-3), case.name
