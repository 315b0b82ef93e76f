"""What every page keeps to: nothing in a text runs, nothing is fetched."""

import base64
import hashlib
import json
import re

import pytest
from helpers.pages.parsed import NASTY, Page
from hypothesis import given
from hypothesis import strategies as st

from avqa.errors import ConfigError
from avqa.pipelines.pages.page import TEMPLATES, as_json, finite, render, write_page

TEXTS = st.recursive(
    st.text() | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(TEXTS)
def test_json_in_a_page_is_the_same_and_means_nothing_to_html(value):
    text = as_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set(text) & set("<>&\u2028\u2029")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_has_not_are_none(number):
    assert finite(number) is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json([number])
    assert finite(0.123456) == 0.1235


def test_the_policy_lets_the_own_script_run_and_nothing_else():
    page = Page(render("run", title=NASTY, data={"a": NASTY}, **nothing()))
    (policy,) = (m["content"] for m in page.of("meta") if m.get("http-equiv"))
    block, script = page.scripts
    assert json.loads(block) == {"a": NASTY}
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        "media-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]
    assert NASTY in page.text or " ".join(NASTY.split()) in page.text


def nothing():
    """A run's page without anything on it."""
    from types import SimpleNamespace as Some

    empty = dict.fromkeys(
        ("marks", "missing", "lines", "notes", "tiles", "curves", "matrices", "templates"), ()
    )
    settings = Some(members=(), training=(), options=(), features=(), environment=())
    config = Some(
        variant="default", avqa_version="0", dataset="d", annotation_version="v",
        annotations="a", store="s",
    )  # fmt: skip
    return empty | {
        "run": Some(path="p", members=()),
        "config": config,
        "seeds": (),
        "table": None,
        "intervals": None,
        "most_answers": 12,
        "attention": None,
        "settings": settings,
    }


def test_scripts_make_no_markup_of_texts():
    for path in TEMPLATES.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        assert "</script" not in text
        assert "<!--" not in text
    for path in TEMPLATES.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "|safe" not in text
        assert not re.search(r"=\{\{", text), "an attribute's value stands in quotes"


def test_files_are_replaced_and_folders_refused(tmp_path):
    write_page(tmp_path / "page.html", b"one")
    write_page(tmp_path / "page.html", b"two")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"two"]
    with pytest.raises(ConfigError, match="is a folder; expected a file to write; change --out"):
        write_page(tmp_path, b"")
    with pytest.raises(ConfigError, match="lies in a folder that does not exist"):
        write_page(tmp_path / "no/page.html", b"")
