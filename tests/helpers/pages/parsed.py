"""A page as a browser takes it apart, without one."""

import json
from html.parser import HTMLParser

NASTY = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;\u2028\u202e{{7*7}}"
"""A text that would run, load, break out or turn around wherever it is not escaped."""


class Page(HTMLParser):
    """Tags, attributes, scripts and texts of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(page.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.words += [" ".join(data.split())] if data.strip() else []

    @property
    def text(self) -> str:
        """What is read on it, with single spaces."""
        return " ".join(self.words)

    @property
    def data(self):
        """What its script reads."""
        return json.loads(self.scripts[0])

    def of(self, tag):
        """Attributes of every such element."""
        return [attributes for name, attributes in self.tags if name == tag]


def outside(page):
    """What a page would run or fetch beside its own script; nothing, if it is as it should be."""
    found = [f"{len(page.scripts)} scripts"] if len(page.scripts) != 2 else []
    for tag, attributes in page.tags:
        found += [f"{tag} {name}" for name in attributes if name.startswith("on")]
        if tag in ("link", "iframe", "object", "embed", "base", "form", "a"):
            found.append(tag)
        for name in ("src", "href", "srcset", "poster", "action"):
            address = attributes.get(name) or ""
            if address and not address.startswith(("data:", "./")):
                found.append(f"{tag} {name}={address}")
    return found
