"""Pages hold everything they show, and text stays text."""

import re
from html.parser import HTMLParser

from matplotlib.figure import Figure

from logo_jax.common import page
from logo_jax.common.figures import style


class Reader(HTMLParser):
    """Collects tags, their attributes and the text of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def draw(theme):
    figure = Figure(figsize=(2, 1))
    style(figure.add_subplot(), theme)
    return figure


def test_text_is_never_markup(tmp_path):
    evil = '<script>alert(1)</script>" onerror="x'
    parts = [
        page.heading(evil),
        page.paragraph(evil),
        page.preformatted(evil),
        page.table(evil, [evil], [[evil], [page.Marked(evil, "best")]]),
        page.strip([page.image(b"x", evil)], evil),
        page.row([page.folded(evil, [])]),
        page.figure(draw, "plot", evil, tmp_path),
    ]
    page.write_page(tmp_path / "page.html", evil, parts)
    reader = read((tmp_path / "page.html").read_text())
    assert "script" not in {tag for tag, _ in reader.tags}
    assert not any("onerror" in attributes for _, attributes in reader.tags)
    assert reader.text.count("alert(1)") == 11  # title, heading, and nine parts of text


def test_nothing_is_fetched_and_figures_come_light_and_dark(tmp_path):
    page.write_page(tmp_path / "page.html", "t", [page.figure(draw, "plot", "a plot", tmp_path)])
    text = (tmp_path / "page.html").read_text()
    assert not re.search(r'(src|href|srcset)="(?!data:image/png;base64,)', text)
    assert "http" not in text and (tmp_path / "plot.png").stat().st_size
    sources = [a for tag, a in read(text).tags if tag in ("source", "img")]
    assert "dark" in sources[0]["media"] and sources[0]["srcset"] != sources[1]["src"]


def test_cells_are_marked():
    cells = read(page.table("c", ["a", "b"], [["x", page.Marked("1", "best")], ["y" * 40, "2"]]))
    classes = [a.get("class") for tag, a in cells.tags if tag == "td"]
    assert classes == [None, "best", "text", None]


def test_a_cell_holds_an_image_and_folded_parts_stay_parts():
    cells = read(page.folded("more", [page.table("c", ["a"], [[page.image(b"x", '"<b>"')]])]))
    assert [tag for tag, _ in cells.tags].count("img") == 1
    assert "b" not in {tag for tag, _ in cells.tags}
    assert {"details", "summary", "table"} <= {tag for tag, _ in cells.tags}


def test_wide_tables_are_small_and_titles_break_after_underscores():
    head = [f"long_name_{number}" for number in range(11)]
    text = page.table("c", head, [[page.Marked("x", "gray left"), *"0123456789"]])
    assert '<table class="many">' in text and '<td class="gray left">x</td>' in text
    assert text.count('<th class="left">') == 1 and "long_<wbr>name_<wbr>0</th>" in text
    assert read(text).text.startswith("c" + "".join(head))
    assert "many" not in page.table("c", head[:10], [])
