"""A page opened in headless Chromium: its text, its tables, and what went wrong."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

BINARIES = ("chromium", "chromium-browser", "google-chrome")

# Runs before anything else of the page, and once more at the end, in a copy made for the test.
WATCH = """<script>
const problems = [];
addEventListener("error", e => problems.push(String(e.message || e.target.outerHTML)), true);
addEventListener("load", () => {  // every image is there, or never comes
  document.querySelectorAll("details").forEach(d => d.open = true);
  const images = [...document.images];
  const found = {
    errors: problems,
    images: images.length,
    broken: images.filter(i => !(i.complete && i.naturalWidth > 1)).length,
    fetched: performance.getEntriesByType("resource").map(e => e.name)
      .filter(name => !name.startsWith("data:")),
    wider: document.documentElement.scrollWidth > innerWidth + 1,
  };
  const element = document.createElement("pre");
  element.id = "watch";
  element.textContent = JSON.stringify(found);
  document.body.append(element);
});
</script>"""


@dataclass
class Opened:
    """A page as Chromium shows it; `tables` by caption: lists of rows of cells."""

    errors: list[str]
    images: int
    broken: int
    fetched: list[str]
    wider: bool
    tables: dict[str, list[list[str]]]
    text: str


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tables, self.text, self.caption, self.inside = {}, "", "", ""

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("td", "th", "caption"):
            self.inside = tag
            self.caption = "" if tag == "caption" else self.caption

    def handle_endtag(self, tag):
        if tag == "table":
            assert self.caption not in self.tables
            self.tables[self.caption] = self.rows
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data):
        self.text += data
        if self.inside == "caption":
            self.caption += data
        elif self.inside:
            self.rows[-1][-1] += data


def open_page(path: Path, folder: Path, width: int = 1200) -> Opened:
    """Open the page at `path`; `folder` is an empty one for the browser's own files."""
    binary = next(filter(None, map(shutil.which, BINARIES)), None)
    if binary is None:
        pytest.skip("there is no Chromium: install the package chromium")
    folder.mkdir(parents=True)
    watched = folder / "page.html"
    text = path.read_text(encoding="utf-8")
    watched.write_text(text.replace("<title>", WATCH + "<title>", 1), encoding="utf-8")
    # Virtual time runs on while the page is read: a busy machine needs more of it.
    for budget in (20_000, 100_000, 500_000):
        dom = subprocess.run(
            [
                binary, "--headless", "--no-sandbox", "--disable-gpu",
                "--disable-background-networking", "--disable-dev-shm-usage",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900",
                f"--virtual-time-budget={budget}", "--dump-dom", watched.as_uri(),
            ],
            check=True, capture_output=True, text=True, timeout=120,
        ).stdout  # fmt: skip
        found = re.search(r'<pre id="watch">(.*?)</pre>', dom, re.DOTALL)
        if found:
            break
    assert found, "the page did not load"
    reader = _Reader()
    reader.feed(dom)
    return Opened(**json.loads(html.unescape(found[1])), tables=reader.tables, text=reader.text)
