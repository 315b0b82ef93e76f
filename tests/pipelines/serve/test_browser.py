"""The page of `avqa serve` in a real browser: picked, dropped, asked, and nothing from elsewhere.

Needs gradio (`pip install .[demo]`), playwright (`.[browser]`) and a Chromium on the path.
"""

import shutil

import pytest
from helpers.runs import served

pytest.importorskip("gradio", reason="gradio is not installed (the extra demo)")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path")


@pytest.fixture
def server(tmp_path):
    run = served.blind_run(tmp_path)
    with served.serving(tmp_path, run, "--videos", tmp_path / "videos") as started:
        yield started


@pytest.fixture
def page():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium.new_page(viewport={"width": 360, "height": 900})
        chromium.close()


def ready(page, selector):
    """Whether a video can be played, as soon as that is known."""
    place = page.locator(selector).first
    place.wait_for(timeout=30_000)
    place.evaluate("v => v.readyState >= 1 || new Promise(r => v.onloadedmetadata = r)")
    return place.evaluate("v => v.duration")


def pick(page, label, text):
    page.get_by_label(label).click()
    page.get_by_role("option", name=text, exact=True).click()


def test_a_video_is_picked_then_one_is_dropped(server, page, tmp_path):
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.goto(server.url)
    pick(page, "A video of the folder", served.ODD)
    page.locator('.preview video[src="/videos/2"]').wait_for(timeout=30_000)
    assert ready(page, ".preview video") == pytest.approx(3, abs=0.2)
    pick(page, "Or a question of the training", "Is there a violin sound")
    page.get_by_role("button", name="Ask").click()
    why = page.frame_locator(".why iframe")
    assert ready(why, "video") == pytest.approx(3, abs=0.2)
    assert why.locator("h1").inner_text() == "Is there a violin sound"
    assert served.ODD.partition("/")[2] in why.locator(".soft").first.inner_text()
    page.set_input_files("input[type=file]", tmp_path / "outside.mp4")
    page.locator(".preview video").wait_for(state="detached", timeout=30_000)
    page.get_by_role("button", name="Ask").click()
    page.locator('.why iframe[src="/explanations/2/explanation.html"]').wait_for(timeout=30_000)
    assert "outside.mp4" in why.locator(".soft").first.inner_text()
    page.get_by_label("Question", exact=True).fill("xyzzy")
    page.get_by_role("button", name="Ask").click()
    page.locator(".told .wrong").wait_for(timeout=30_000)
    assert "no word of the question is known" in page.locator(".told .wrong").inner_text()
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    assert complaints == []
    assert [u for u in requests if not u.startswith((server.url, "data:", "blob:"))] == []
