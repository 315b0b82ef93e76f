"""How plug-ins are found and held against their contracts; those of other packages as installed."""

import subprocess
import sys
from dataclasses import replace

import pytest
from helpers.media import clips
from helpers.plugins.dropped import example, write_distribution
from helpers.questions.question_files import write
from typer.testing import CliRunner

from avqa import datasets, heads, plugins
from avqa.cli import app
from avqa.errors import LibraryMissing, PluginError, UnknownName
from avqa.extract import readers

PAGE = plugins.PAGE
KINDS = {kind.group: kind for kind in (readers.READERS, datasets.DATASETS, heads.HEADS)}
UNPLANNED = example("avqa.readers", "unplanned")
CLIPS = example("avqa.datasets", "clips")
AUDIO = example("avqa.heads", "audio_alone")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, of this process and those it starts."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    forget()
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and name.startswith("dropped"):
            del sys.modules[name]
    forget()


def forget():
    plugins._entry_points.cache_clear()
    plugins._load.cache_clear()


def install(site, plugin, old="", new="", package="dropped", value=None):
    """The plug-in as a package's module, with a part of its text replaced."""
    assert old in plugin.text
    (site / package).mkdir()
    file = site / package / f"{plugin.name}.py"
    file.write_text(plugin.text.replace(old, new, 1) if old else plugin.text, encoding="utf-8")
    entry = {plugin.name: value or f"{package}.{plugin.name}"}
    write_distribution(site, package, {plugin.group: entry})
    return KINDS[plugin.group], file


def refused(kind, name):
    with pytest.raises(PluginError) as caught:
        kind.load(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("plugin", [UNPLANNED, CLIPS, AUDIO], ids=lambda p: p.name)
def test_another_packages_module_is_found_beside_our_own(site, plugin):
    kind, file = install(site, plugin)
    own = {name for name in kind.names() if name != plugin.name}
    assert len(own) > 2
    assert kind.names() == tuple(sorted({*own, plugin.name}))
    assert kind.load(plugin.name).__file__ == str(file)
    assert kind.load(plugin.name) is kind.load(plugin.name)


def test_names_of_data_sets_have_hyphens_and_those_of_files_are_unknown():
    assert "music-avqa" in datasets.names()
    with pytest.raises(UnknownName, match="no data set 'music_avqa'; did you mean 'music-avqa'"):
        datasets.load("music_avqa")


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.group)
@pytest.mark.parametrize("name", ["_parts", "no such", "", "../heads", "__init__"])
def test_what_is_no_plug_in_is_not_there(kind, name):
    with pytest.raises(UnknownName, match=rf"^no {kind.word} '{name}'"):
        kind.load(name)


def test_readers_and_data_sets_are_listed_without_what_they_need():
    script = (
        "import sys; from avqa import datasets; from avqa.extract import readers;"
        " datasets.names(); readers.names(); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert not {"torch", "av", "decord", "avqa.datasets.avqa"} & set(done.stdout.split())


READER = [
    ("READER = UnplannedReader()", "", "READER is missing; expected READER: Reader"),
    ("def audio", "def sound", "READER.audio is missing; expected audio(probe, report)"),
    ('name = "unplanned"', "", "READER.name is missing; expected name: str"),
    ('"unplanned"', '"m"', "READER.name is 'm'; expected the file's name, 'unplanned'"),
    (
        "probe: Probe, wanted: Sequence[int]",
        "wanted: Sequence[int], probe: Probe",
        "READER.frames(wanted, probe, report, full) takes other arguments; expected"
        " frames(probe, wanted, report, full)",
    ),
]
DATASET = [
    ('LICENSE = "CC0"', "", "LICENSE is missing; expected LICENSE: str"),
    ('"CC0"', "None", "LICENSE is a NoneType; expected LICENSE: str"),
    (
        '"""Clips: yes-or-no questions about what is heard and seen in short clips."""',
        "",
        "the docstring is missing; expected one that begins with what the data set is",
    ),
    (
        '"val", "test")}\nV',
        '"dev")}\nV',
        "FILES has splits train, dev; expected paths for some of train, val, test",
    ),
    (
        "split: (f",
        "split: () and (f",
        "FILES has splits train, val, test; expected paths for some of train, val, test",
    ),
    ("(path: Path, splits", "(path: Path, parts", "read(path, parts, sense) takes other arguments;"
     " expected read(path, splits)"),
    (
        '"all", "Audio", "Visual")}',
        '"Audio", "all", "Visual")}',
        "VARIANTS['sense'] is ('Audio', 'all', 'Visual'); expected values of a keyword of read, its"
        " default first",
    ),
    (
        '"sense": (',
        '"part": (',
        "VARIANTS['part'] is ('all', 'Audio', 'Visual'); expected values of a keyword of read, its"
        " default first",
    ),
    (
        'frozenset({("Visual", "Presence")})',
        "3",
        "cannot be checked: TypeError: '<=' not supported between instances of 'int' and"
        " 'frozenset'; expected other values",
    ),
    ('"All": ', '"Every": ', "COLUMNS has Heard, Seen, Every; expected All as the last"),
    (
        '("Visual", "Presence")}),\n}',
        "}),\n}",
        "COLUMNS['Seen'] has pairs that All lacks; expected All to count every one",
    ),
]  # fmt: skip
HEAD = [
    ("ABLATIONS =", "ROWS =", "ABLATIONS is missing; expected ABLATIONS: dict[str, Ablation]"),
    ("PAPER = Paper(", "PAPER = dict(", "PAPER is a dict; expected an avqa.heads.Paper"),
    (
        '("audio",)',
        '("sound",)',
        "Head.FEATURES has sound; expected some of audio, frame, patch, bands",
    ),
    (
        '"a": "audio"',
        '"sound": "audio"',
        "Head.PROJECTIONS has sound; expected some of q, a, v",
    ),
    (
        'PROJECTIONS = {"q": "question", "a": "audio"}',
        'PROJECTIONS = ("question", "audio")',
        "Head.PROJECTIONS is no mapping of q, a, v to names; expected {'q': 'question'} or so",
    ),
    ("Head(BaseHead)", "Head(nn.Module)", "Head has bases Module; expected avqa.heads.Head"),
    (
        "class Head(BaseHead):",
        "def Head(options): ...\nclass _Head(BaseHead):",
        "Head is a function; expected Head: type[BaseHead]",
    ),
    (
        "@dataclass(frozen=True, kw_only=True)\n",
        "",
        "Options is no dataclass of its own; expected @dataclass(frozen=True, kw_only=True)",
    ),
    (
        "Options(HeadOptions)",
        "Options",
        "Options has bases object; expected avqa.heads.HeadOptions",
    ),
    (
        "attend: bool = True",
        'attend: str = "all"',
        "Options.attend is a <class 'str'>; expected int, float, bool or Literal, or None too",
    ),
    (
        "attend: bool = True",
        "attend: bool = True; epochs: int = 3",
        "Options.epochs has the name of a training setting; expected another name",
    ),
    (
        "attend: bool = True",
        "attend: bool",
        "Options() fails: Options.__init__() missing 1 required keyword-only argument: 'attend';"
        " expected a default for each that fits the others",
    ),
    (
        '{"attend": False}',
        '{"attends": False}',
        "ABLATIONS['mean'] sets attends; expected fields of Options",
    ),
    (
        '{"attend": False}',
        '{"attend": 3}',
        "ABLATIONS['mean'] cannot be: attend=3; expected true or false",
    ),
    (
        '{"attend": False}',
        '{"attend": False}, same_as="men"',
        "ABLATIONS['mean'] is the same as 'men'; expected a row above it",
    ),
    (
        'Ablation({"attend": False})',
        "{}",
        "ABLATIONS['mean'] is a dict; expected an Ablation",
    ),
    (
        '{"epochs": 5}',
        '{"epoch": 5}',
        "PAPER.datasets['avqa'] sets epoch; expected fields of Recipe or Options",
    ),
    (
        '{"epochs": 5}',
        '{"attend": 3}',
        "PAPER.datasets['avqa'] cannot be: attend=3; expected true or false",
    ),
    (
        'OfDataset({"epochs": 5}, "an example")',
        '{"epochs": 5}',
        "PAPER.datasets['avqa'] is a dict; expected an OfDataset",
    ),
]
BROKEN = [
    (plugin, *case)
    for plugin, cases in ((UNPLANNED, READER), (CLIPS, DATASET), (AUDIO, HEAD))
    for case in cases
]


@pytest.mark.parametrize(("plugin", "old", "new", "complaint"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_contract_is_told_with_file_member_and_page(site, plugin, old, new, complaint):
    kind, file = install(site, plugin, old, new)
    assert refused(kind, plugin.name) == (
        f"{kind.word} {plugin.name!r} ({file}): {complaint}; see {PAGE}"
    )


def test_all_complaints_come_together(site):
    kind, _ = install(site, CLIPS, 'LICENSE = "CC0"\nFILES', "PATHS")
    found = refused(kind, "clips")
    assert "LICENSE is missing; expected LICENSE: str; FILES is missing; expected FILES: d" in found


def test_a_name_that_two_packages_bring_is_refused_and_the_others_stay(site):
    kind, _ = install(site, CLIPS)
    install(site, CLIPS, package="dropped2")
    assert refused(kind, "clips") == (
        "data set 'clips' is there 2 times: dropped.clips of package dropped, dropped2.clips of"
        " package dropped2; expected it once; uninstall a package, or rename its entry point; see"
        f" {PAGE}"
    )
    assert kind.names().count("clips") == 1
    assert kind.load("avqa").__name__ == "avqa.datasets.avqa"


def test_a_name_of_our_own_cannot_be_taken(site):
    write_distribution(site, "dropped", {"avqa.heads": {"avst": "dropped.avst"}})
    assert refused(heads.HEADS, "avst").startswith(
        "head 'avst' is there 2 times: module avqa.heads.avst, dropped.avst of package dropped;"
    )
    assert heads.load("mcd").__name__ == "avqa.heads.mcd"


def test_an_entry_point_must_name_a_module_that_is_there(site):
    kind, _ = install(site, AUDIO, value="dropped.audio")
    assert refused(kind, "audio_alone") == (
        "head 'audio_alone' (dropped.audio of package dropped) cannot be imported:"
        " ModuleNotFoundError: No module named 'dropped.audio'; expected a module that can be;"
        f" correct it; see {PAGE}"
    )


def test_an_entry_point_names_a_module_alone(site):
    kind, _ = install(site, AUDIO, value="dropped.audio_alone:Head")
    assert refused(kind, "audio_alone") == (
        "head 'audio_alone': entry point 'dropped.audio_alone:Head' of package dropped names more"
        f" than a module; expected 'dropped.audio_alone'; see {PAGE}"
    )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "import torch\n",
            "import torch +\n",
            "SyntaxError: invalid syntax (audio_alone.py, line ",
        ),
        ("PAPER", "print(PAPPER)\nPAPER", "NameError: name 'PAPPER' is not defined"),
        ("    Ablation,", "    Ablations,", "ImportError: cannot import name 'Ablations' from"),
        ("import torch\n", "import dropped.parts\n", "ModuleNotFoundError: No module named 'dropp"),
    ],
)
def test_what_goes_wrong_inside_the_file_is_one_line(site, old, new, why):
    kind, _ = install(site, AUDIO, old, new)
    place = "head 'audio_alone' (dropped.audio_alone of package dropped)"
    assert refused(kind, "audio_alone").startswith(f"{place} cannot be imported: {why}")


def test_a_missing_library_is_the_machines_fault(site):
    kind, _ = install(site, AUDIO, "import torch\n", "import torchh\n")
    with pytest.raises(LibraryMissing) as caught:
        kind.load("audio_alone")
    assert isinstance(caught.value, ImportError)
    assert str(caught.value) == (
        "head 'audio_alone' cannot be loaded: No module named 'torchh'; expected its library to be"
        " installed; install it or choose another head"
    )


def avqa(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_commands_end_in_that_line(site, tmp_path):
    _, file = install(site, UNPLANNED, "def audio", "def sound")
    complaint = (
        f"decoder 'unplanned' ({file}): READER.audio is missing; expected audio(probe, report); see"
        f" {PAGE}"
    )
    code, listed, _ = avqa("decoders")
    assert code == 0
    assert f"unplanned         not usable: {complaint}" in listed.splitlines()
    video = clips.cached_clip("a.mp4", seconds=1.0)
    given = avqa("frames", video, "--decoder", "unplanned", "--out", tmp_path / "frames")
    assert given == (2, "", f"avqa: {complaint}\n")


def test_heads_are_listed_beside_one_that_is_broken(site, monkeypatch):
    _, file = install(site, AUDIO, "ABLATIONS =", "ROWS =")
    monkeypatch.setattr(heads, "names", lambda: ("question_only", "audio_alone"))
    code, listed, _ = avqa("heads")
    assert code == 0
    assert listed.splitlines()[-2].startswith("question_only ")
    assert listed.splitlines()[-1] == (
        f"audio_alone    not usable: head 'audio_alone' ({file}): ABLATIONS is missing; expected"
        f" ABLATIONS: dict[str, Ablation]; see {PAGE}"
    )


def test_commands_end_in_that_line_for_questions_too(site, tmp_path):
    _, file = install(site, CLIPS, 'LICENSE = "CC0"', "")
    given = avqa("questions", "--dataset", "clips", "--annotations", tmp_path, "--show", 1)
    assert given == (
        2,
        "",
        f"avqa: data set 'clips' ({file}): LICENSE is missing; expected LICENSE: str; see {PAGE}\n",
    )


def test_a_data_sets_choices_are_those_of_the_command_line(site, tmp_path):
    """Named as an option is, with lines of its own on what is chosen; no list has its name."""
    text = CLIPS.text.replace("sense", "subset")
    text += "\n\ndef notes(path, subset):\n    return [f'only {subset}']\n"
    install(site, replace(CLIPS, text=text))
    rows = [
        {"clip": "a", "question": f"Is it {heard}?", "heard": heard, "answer": "yes"}
        for heard in (1, 0, 1)
    ]
    write(tmp_path / "json/test.json", rows)
    asked = ("questions", "--dataset", "clips", "--annotations", tmp_path / "json", "--show", 0)
    code, out, _ = avqa(*asked, "--subset", "Audio")
    assert code == 0
    assert out.splitlines()[:2] == [
        "data set clips, subset=Audio, annotation version: 1.0",
        "questions: test 2 (1 videos); 1 distinct texts",
    ]
    assert "only Audio" in out.splitlines()
    assert "only all" in avqa(*asked)[1].splitlines()
    assert avqa(*asked, "--edition", "bias")[::2] == (
        2,
        "avqa: edition='bias' is no choice of data set 'clips'; its choices: subset (all, Audio,"
        " Visual); leave it out\n",
    )


def test_a_library_that_a_reader_lacks_is_told_by_the_decoder_process(site, tmp_path):
    install(site, UNPLANNED, "from avqa.extract.readers import pyav", "import pyavv as pyav")
    code, listed, _ = avqa("decoders")
    assert code == 0
    assert "unplanned         not usable here: No module named 'pyavv'" in listed.splitlines()
    video = clips.cached_clip("a.mp4", seconds=1.0)
    code, _, told = avqa("frames", video, "--decoder", "unplanned", "--out", tmp_path / "frames")
    assert code == 5
    assert "decoder 'unplanned' cannot be loaded: No module named 'pyavv'; expected its lib" in told
