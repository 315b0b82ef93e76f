"""`avqa table`: runs beside each other, of the same questions only."""

import contextlib
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from avqa import heads
from avqa.cli import app
from avqa.errors import ConfigError, RunDamaged
from avqa.pipelines.train.tables import joined_table
from avqa.training.table.layout import Cell, ResultTable, Row
from avqa.training.table.published import Scope, published_rows
from avqa.training.table.reading import read_csv


def write(folder, head, mean, *, dataset="music-avqa", total=4, columns=("A-Avg", "All")):
    cells = {c: Cell(mean, 1.0, (1, 2), total) for c in columns}
    floor = {c: Cell(40.0, None, (2,), total) for c in columns}
    table = ResultTable(
        dataset=dataset,
        version="updated",
        split="test",
        columns=columns,
        rows=(
            Row(name=f"{head} printed", kind="published", cells={"All": Cell(70.0)}),
            Row(name="template floor", kind="floor", cells=floor),
            Row(name="ours: question_only", kind="question-only", cells=cells, seeds=(0, 1)),
            Row(name=f"ours: {head}", kind="ours", cells=cells, seeds=(0, 1)),
        ),
    )
    folder.mkdir()
    (folder / "table.csv").write_text(table.csv(), encoding="utf-8")
    return folder


def test_rows_of_all_runs_stand_under_what_they_share(tmp_path):
    one, two = write(tmp_path / "one", "avst", 50.0), write(tmp_path / "two", "mcd", 60.0)
    table = joined_table([one, two, one])
    assert [row.name for row in table.rows] == [
        *("avst printed", "mcd printed", "template floor"),
        *("one/ours: question_only", "one/ours: avst"),
        *("two/ours: question_only", "two/ours: mcd"),
    ]
    assert table.rows[-1].cells["All"] == Cell(60.0, 1.0, (1, 2), 4)
    alone = joined_table([one])
    assert [row.name for row in alone.rows][-1] == "ours: avst"


def test_the_other_papers_of_the_data_set_are_at_hand(tmp_path):
    table = joined_table([write(tmp_path / "one", "avst", 50.0)], published=True)
    names = [row.name for row in table.rows if row.kind == "published"]
    assert {"avst printed", "AVST", "TJSTG", "PSTP-Net, run again", "SaSR-Net"} <= set(names)
    (tjstg,) = [row for row in table.rows if row.name == "TJSTG"]
    assert (tjstg.cells["All"].mean, tjstg.comparable) == (73.04, True)
    avqa = joined_table([write(tmp_path / "two", "pstp", 50.0, dataset="avqa")], published=True)
    assert "TJSTG" not in [row.name for row in avqa.rows]
    (said,) = table.notes
    assert said.startswith("published figures: copied as printed, none was reproduced here; ann: u")
    assert joined_table([tmp_path / "one"]).notes == ()


def test_rows_of_other_methods_are_printed_when_asked_for_each_once(tmp_path):
    one = write(tmp_path / "one", "avst", 50.0)
    table = read_csv((one / "table.csv").read_text(encoding="utf-8"))
    printed = published_rows(heads.load("avst").PAPER, Scope("music-avqa", "updated", "test", True))
    table = replace(table, rows=(*printed, *table.rows))
    (one / "table.csv").write_text(table.csv(), encoding="utf-8")

    def rows(**how):
        joined = joined_table([one], **how)
        return {row.name: row for row in joined.rows if row.kind == "published"}

    alone, beside = rows(), rows(published=True)
    assert "FCNLSTM" not in alone
    assert beside["FCNLSTM"].cells["All"].mean == 60.81
    assert beside["FCNLSTM"].note == "PSTP-Net, Table 1; MCD, Table III"
    assert [name for name in beside if name.startswith("AVST")] == [
        *("AVST", "AVST, updated annotation", "AVST, run again"),
        *("AVST w/ T-A", "AVST w/ L_csl", "AVST on MUSIC-AVQA-Real"),
    ]
    # A row of the run is told with all who print it.
    assert alone["AVST, updated annotation"].note == "AVST, authors' results page; ResNet-18"
    assert "; TJSTG, Table 1; " in beside["AVST, updated annotation"].note
    assert beside["AVST, updated annotation"].cells == alone["AVST, updated annotation"].cells


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"dataset": "avqa"}, "dataset=music-avqa and avqa"),
        ({"total": 5}, "questions=4 and 5"),
        ({"columns": ("All",)}, "columns=A-Avg,All and All"),
    ],
)
def test_runs_of_other_questions_are_refused(tmp_path, more, said):
    one, two = write(tmp_path / "one", "avst", 50.0), write(tmp_path / "two", "mcd", 60.0, **more)
    with pytest.raises(ConfigError, match=rf"were scored on other questions: {said}; expected the"):
        joined_table([one, two])


def test_a_run_without_a_table_and_a_damaged_one(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="none"):
        joined_table([tmp_path / "none"])
    one = write(tmp_path / "one", "avst", 50.0)
    for content in (b"", b"\xff\xfe", b"name,kind,All_total\nx,ours,4\n"):
        (one / "table.csv").write_bytes(content)
        with pytest.raises(RunDamaged, match=r"table.csv' cannot be read: .*; expected the table"):
            joined_table([one])


def test_on_a_terminal_it_is_as_wide_as_that_and_in_colour(tmp_path):
    columns = ("A-Count", "A-Comp", "A-Avg", "V-Count", "V-Local", "V-Avg", "AV-Exist", "All")
    one = write(tmp_path / "one", "avst", 30.0, columns=columns)
    command = [sys.executable, "-m", "avqa", "table", str(one), str(one)]
    env = {**os.environ, "COLUMNS": "70", "TERM": "xterm"}
    env.pop("NO_COLOR", None)
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, env=env) as process:
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while block := os.read(ours, 65536):
                told += block
    os.close(ours)
    assert process.returncode == 0
    text = told.decode()
    assert "\x1b[31m" in text  # below the floor
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= 70
    assert "no room for A-Count, A-Comp, V-Count, V-Local, AV-Exist: --cells" in plain
    piped = CliRunner().invoke(app, ["table", str(one)]).output
    assert "\x1b" not in piped
    assert "A-Count" in piped.splitlines()[1]
    shown = CliRunner().invoke(app, ["table", str(one), "--format", "markdown"]).output
    assert "| ours: avst | " in shown
