"""Pages in a real browser: nothing is fetched, nothing complains, keys and clicks do what they say.

Needs playwright (`pip install .[browser]`) and a Chromium on the path (Debian: ``chromium``).
"""

import shutil

import pytest
from helpers.media import clips
from helpers.pages import reported
from helpers.pages.parsed import NASTY
from helpers.runs import run_folders
from helpers.runs.answered import EVIDENCE, answer

from avqa.pipelines.ask.explain import explain
from avqa.pipelines.pages import store
from avqa.pipelines.pages.run import run_page
from avqa.pipelines.pages.search import Hit, Hits
from avqa.pipelines.pages.store import store_page
from avqa.store.places.files import store_path

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path")
WIDTHS = (360, 1600)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Seen:
    """A page that is open, and what it asked for and complained of."""

    def __init__(self, browser, file, width=1600):
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.complaints, self.requests = [], []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append("a dialog"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def elsewhere(self, *files):
        """Requests for anything but the page itself, these files, and what lies within the page."""
        own = {self.page.url, *(file.as_uri() for file in files)}
        return [url for url in self.requests if url not in own and not url.startswith("data:")]

    def overflow(self):
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    def close(self):
        self.page.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The three pages; texts on them would run if they could."""
    root = tmp_path_factory.mktemp("pages")
    run = reported.reported_run(root, odd=NASTY)
    videos = root / "videos"
    videos.mkdir()
    clip = clips.cached_clip("a.mp4", seconds=9, fps=4, sound_codec="aac")
    for name in ("00000001", "00000002", "v50"):
        shutil.copy(clip, videos / f"{name}.mp4")
    (root / "run.html").write_bytes(run_page(run, lambda line: None, videos))
    odd = NASTY.replace("/", "|")
    run_folders.write_store(root / "S", {odd: 4, **{f"v{n}": 3 + n % 9 for n in range(99)}})
    hits = (Hit(51, 1.5, 0.31), Hit(0, 0.5, 0.2))
    with pytest.MonkeyPatch.context() as patch:
        found = [Hits(NASTY, "clip_vit_b32/frame", hits)]
        patch.setattr(store, "search", lambda reader, ids, sentences: found)
        page = store_page(store_path(root / "S"), videos, print, [NASTY])
    (root / "store.html").write_bytes(page)
    explain(answer(root, EVIDENCE), root / "out")
    return root


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["run.html", "store.html", "out/explanation.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_fetched_and_nothing_overflows(browser, files, name, width, scheme):
    seen = Seen(browser, files / name, width)
    seen.page.emulate_media(color_scheme=scheme)
    seen.page.wait_for_timeout(100)
    video = answer(files, {}).video.resolve()
    assert seen.elsewhere(video) == []
    assert seen.complaints == []
    assert seen.overflow() <= 0
    back = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[scheme]
    seen.close()


def test_questions_are_chosen_by_keys_and_by_cells(browser, files):
    seen = Seen(browser, files / "run.html")
    page = seen.page
    count = page.locator("#count")
    assert count.inner_text() == "18 of 18 questions"
    page.keyboard.press("w")
    assert count.inner_text() == "9 of 18 questions"
    page.keyboard.press("r")
    assert count.inner_text() == "9 of 18 questions"
    page.keyboard.press("s")
    first = page.locator("#list li").first
    assert "81 %" in first.inner_text()  # 0.3 + 0.03 × 17, the surest of the wrong ones
    page.keyboard.press("/")
    page.keyboard.type("where is")
    assert count.inner_text() == "3 of 18 questions"
    page.keyboard.press("Escape")
    assert count.inner_text() == "9 of 18 questions"
    page.keyboard.press("a")
    assert count.inner_text() == "18 of 18 questions"
    page.locator("button.cell[data-right=left][data-said=yes]").click()
    assert count.inner_text() == "1 of 18 questions"
    page.locator("#cell").click()
    page.keyboard.press("e")
    assert page.locator("#list .heat").count() == 18
    page.locator("#member").select_option("1")
    page.keyboard.press("w")
    assert count.inner_text() == "10 of 18 questions"
    assert seen.complaints == []
    seen.close()


def test_a_click_and_keys_go_through_the_video(browser, files):
    seen = Seen(browser, files / "out/explanation.html")
    page = seen.page
    page.wait_for_function("() => document.getElementById('video').readyState > 1")
    assert page.locator("#fallback").is_hidden()
    at = "document.getElementById('video').currentTime"
    box = page.locator("#time").bounding_box()
    page.mouse.click(box["x"] + 72 + (box["width"] - 72) * 0.7, box["y"] + box["height"] / 2)
    length = page.evaluate("data.duration")
    assert page.evaluate(at) == pytest.approx(0.7 * length, abs=0.05)
    assert page.locator("#where").inner_text().startswith("second 2.8: audio 0 %, frames 0 %")
    page.locator("#time").focus()
    for key, second in (("ArrowRight", 3.5), ("Home", 0.5), ("ArrowRight", 1.5), ("End", 3.5)):
        page.keyboard.press(key)
        assert page.evaluate(at) == pytest.approx(second, abs=0.05), key
    page.keyboard.press("m")
    assert page.evaluate(at) == pytest.approx(1.5, abs=0.05)
    assert "frames 100 %" in page.locator("#time").get_attribute("aria-valuetext")
    page.wait_for_timeout(50)
    strongest = (
        "[...document.getElementById('tint').getContext('2d').getImageData(0, 0, 7, 7).data]"
        ".filter((_, n) => n % 4 === 3)"
    )
    alpha = page.evaluate(strongest)
    assert alpha.index(max(alpha)) == 8
    page.keyboard.press("t")
    assert page.locator("#tint").is_hidden()
    assert seen.complaints == []
    seen.close()


def test_frames_stand_in_for_a_video_that_does_not_play(browser, files, tmp_path):
    copy = tmp_path / "far" / "away" / "explanation.html"
    copy.parent.mkdir(parents=True)
    shutil.copy(files / "out/explanation.html", copy)
    seen = Seen(browser, copy)
    seen.page.locator("#fallback").wait_for(state="visible")
    seen.page.keyboard.press("End")
    assert seen.page.locator("#still").get_attribute("src").startswith("data:image/jpeg")
    assert seen.page.locator("#where").inner_text().startswith("second 3.5")
    assert seen.page.evaluate("document.getElementById('still').naturalWidth") > 100
    seen.close()


def test_the_list_of_videos_grows_and_the_map_leads_into_it(browser, files):
    seen = Seen(browser, files / "store.html")
    page = seen.page
    assert page.locator("#count").inner_text() == "100 of 100 videos"
    page.locator("#end").scroll_into_view_if_needed()
    page.wait_for_function("() => document.getElementById('list').children.length === 100")
    page.keyboard.press("/")
    page.keyboard.type("v1")
    assert page.locator("#count").inner_text() == "11 of 100 videos"
    page.locator("#points circle[data-video='50']").dispatch_event("click")
    chosen = page.locator("#list li.chosen")
    assert chosen.get_attribute("data-video") == "50"
    assert page.locator("#count").inner_text() == "100 of 100 videos"
    assert page.evaluate("document.activeElement.dataset.video") == "50"
    assert page.locator("#list li b").first.text_content() == NASTY.replace("/", "|")
    assert seen.complaints == []
    seen.close()


def test_a_second_that_was_found_leads_to_its_video_and_files_are_seen(browser, files):
    seen = Seen(browser, files / "store.html")
    page = seen.page
    assert page.locator("#search + p + h3").text_content() == NASTY
    hit = page.locator(".hits button").first
    assert hit.locator("img").evaluate("image => image.naturalWidth") == 80
    hit.focus()
    page.keyboard.press("Enter")
    chosen = page.locator("#list li.chosen")
    assert chosen.get_attribute("data-video") == "51"
    assert chosen.locator("b").text_content() == "v50"
    sizes = chosen.locator("img").evaluate_all(
        "images => images.map((one) => [one.naturalWidth, one.naturalHeight])"
    )
    assert sizes == [[400, 46], [400, 32]]  # frames, sound
    assert seen.complaints == []
    seen.close()


def test_frames_stand_beside_questions(browser, files):
    seen = Seen(browser, files / "run.html")
    pictures = seen.page.locator("#list img.frames")
    assert pictures.count() == 12  # of the questions about two of three videos
    assert pictures.first.evaluate("image => image.decode().then(() => image.naturalHeight)") == 46
    assert seen.complaints == []
    seen.close()


def test_pages_print(browser, files):
    seen = Seen(browser, files / "run.html")
    assert len(seen.page.pdf()) > 20_000
    seen.close()
