"""`make release` says what is not as it should be in what was built."""

import io
import tarfile
import zipfile

import pytest

from portability import release
from portability.path import Failed

ABOUT = {"name": "avqa", "version": "1.2"}
TOLD = "Metadata-Version: 2.4\nName: avqa\nVersion: {}\nDescription-Content-Type: text/markdown\n"


def write(folder, version="1.2", *, without="", more="avqa/more.py"):
    sdist, wheel = folder / f"avqa-{version}.tar.gz", folder / f"avqa-{version}-py3-none-any.whl"
    with tarfile.open(sdist, "w:gz") as archive:
        for name in {"pyproject.toml", "tests", "LICENSE"} - {without}:
            archive.addfile(tarfile.TarInfo(f"avqa-{version}/{name}"), io.BytesIO())
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in {*release.NEEDED, more} - {without}:
            archive.writestr(name, "")
        archive.writestr(f"avqa-{version}.dist-info/METADATA", TOLD.format(version) + "\n# avqa\n")
    return sdist, wheel


def test_what_is_whole_is_taken(tmp_path):
    release.check(*write(tmp_path), ABOUT)


@pytest.mark.parametrize(
    ("built", "told"),
    [
        ({"version": "1.3"}, "version: 1.3"),
        ({"version": "1.3"}, "avqa-1.3.tar.gz"),
        ({"without": "avqa/py.typed"}, "not in the wheel: avqa/py.typed"),
        ({"without": "LICENSE"}, "not in the sdist: LICENSE"),
        ({"more": "tests/conftest.py"}, "no module of avqa: tests/conftest.py"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, built, told):
    with pytest.raises(Failed) as caught:
        release.check(*write(tmp_path, **built), ABOUT)
    assert told in str(caught.value).splitlines()
