"""HTML pages that hold everything they show: no script, nothing fetched, light, dark and print.

Every function takes plain text and escapes it; `write_page` takes the parts that they return.
"""

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path

from logo_jax.common.figures import DARK, LIGHT, Draw, png
from logo_jax.common.files import atomic_writer

# A cell of more characters may break its line.
LONG_CELL = 30
# A table of more columns is set small.
MANY_COLUMNS = 10

STYLE = """
:root{color-scheme:light dark;--ink:#1a1a1a;--paper:#fff;--faint:#ddd}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--paper:#16181c;--faint:#3a3d44}}
@media print{:root{--ink:#000;--paper:#fff;--faint:#ccc}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:76rem;
margin:auto;padding:1rem;overflow-wrap:break-word}
p,figcaption{max-width:60rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.2rem}h3{font-size:1rem}
img{max-width:100%;height:auto}pre{overflow-x:auto;font-size:.85rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}
caption{text-align:left;padding-bottom:.4rem;max-width:min(60rem,calc(100vw - 2rem))}
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--faint);text-align:right;white-space:nowrap}
th:first-child,td:first-child,td.text{text-align:left}td.text{white-space:normal;min-width:14rem}
th{white-space:normal;vertical-align:bottom;min-width:3.5rem}
td.left{text-align:left;white-space:normal}th.left{text-align:left}
.many{font-size:.74rem}.many th,.many td{padding:.2rem .35rem}.many th{min-width:0}
.many td.text{min-width:8rem}td.left{min-width:6rem}
.wide{margin:1rem 0}.wide table{min-width:min(100%,32rem)}
.row{display:flex;flex-wrap:wrap;gap:.5rem}.row>*{flex:1 1 17rem;min-width:0;max-width:26rem}
td.best{font-weight:bold}td.gray,tr.gray td{opacity:.55}
td.shade1{background:#3b7dd81a}td.shade2{background:#3b7dd833}td.shade3{background:#3b7dd84d}
td.shade4{background:#3b7dd866}td.shade5{background:#3b7dd880}
td img{display:block;width:4.5rem;max-width:none;margin-left:auto}
td[class*=shade]{-webkit-print-color-adjust:exact;print-color-adjust:exact}
summary{cursor:pointer}
figure{margin:.6rem 0}figcaption{font-size:.85rem}
.strip{display:flex;gap:2px;overflow-x:auto}.strip img{width:4.5rem;flex:none}
@media print{.wide,.strip,pre{overflow:visible}.strip{flex-wrap:wrap}table{font-size:.6rem}
.many{font-size:.47rem}.many th,.many td,.many td.text{padding:.1rem .15rem;white-space:normal}
.many td.left,.many td.text{min-width:3.5rem}
th,td{padding:.1rem .25rem}td img{width:2.2rem}tr,figure,picture{break-inside:avoid}
pre{white-space:pre-wrap;columns:2;font-size:.6rem}
details::details-content{content-visibility:visible;display:block}}
"""


def heading(text: str, level: int = 2) -> str:
    return f"<h{level}>{html.escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def preformatted(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def folded(title: str, parts: Sequence[str]) -> str:
    """Parts that a click on `title` unfolds; on paper they are unfolded."""
    inside = "\n".join(parts)
    return f"<details><summary>{html.escape(title)}</summary>\n{inside}</details>"


class Marked(str):
    """Text of a cell with CSS classes: "best" (bold), "gray", "left", "shade1" to "shade5"; several
    with a blank between them."""

    mark: str

    def __new__(cls, text: str, mark: str) -> "Marked":
        cell = super().__new__(cls, text)
        cell.mark = mark
        return cell


class Picture(str):
    """The markup of an image, which a cell of a table may hold."""


def table(caption: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table that scrolls sideways where it is wider than the page; long cells break, and titles
    after an underscore."""

    def cell(text: str) -> str:
        if isinstance(text, Picture):
            return f"<td>{text}</td>"
        classes = ["text"] if len(text) > LONG_CELL else []
        classes += [text.mark] if isinstance(text, Marked) else []
        attribute = f' class="{" ".join(classes)}"' if classes else ""
        return f"<td{attribute}>{html.escape(text)}</td>"

    lines = ["<tr>" + "".join(map(cell, row)) + "</tr>" for row in body]

    def title(text: str, column: int) -> str:
        cells = (row[column] for row in body)
        left = any(isinstance(cell, Marked) and "left" in cell.mark.split() for cell in cells)
        attribute = ' class="left"' if left else ""
        return f"<th{attribute}>{html.escape(text).replace('_', '_<wbr>')}</th>"

    titles = "".join(title(text, column) for column, text in enumerate(head))
    many = ' class="many"' if len(head) > MANY_COLUMNS else ""
    return (
        f'<div class="wide"><table{many}><caption>{html.escape(caption)}</caption>'
        f"<tr>{titles}</tr>{''.join(lines)}</table></div>"
    )


def figure(draw: Draw, name: str, alt: str, folder: Path) -> str:
    """A figure drawn light and dark; the light one is kept as `<folder>/<name>.png` as well."""
    light, dark = png(draw, LIGHT), png(draw, DARK)
    with atomic_writer(folder / f"{name}.png", "wb") as file:
        file.write(light)
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{data_address(dark)}">'
        f'<img alt="{html.escape(alt)}" src="{data_address(light)}"></picture>'
    )


def image(content: bytes, alt: str, kind: str = "png") -> Picture:
    """A picture of the page itself, from the bytes of a PNG (or `kind="jpeg"`) file."""
    return Picture(f'<img alt="{html.escape(alt)}" src="{data_address(content, kind)}">')


def row(figures: Sequence[str]) -> str:
    """Figures side by side where the page is wide enough, else below each other."""
    return f'<div class="row">{"".join(figures)}</div>'


def strip(images: Sequence[str], caption: str) -> str:
    """Small pictures side by side, such as the frames of a clip, above a caption."""
    return (
        f'<figure><div class="strip">{"".join(images)}</div>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def data_address(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def write_page(path: str | os.PathLike, title: str, parts: Sequence[str]) -> None:
    """Write one self-contained page: `title` as its heading, then the parts.

    Raises:
        UserError: the file cannot be written.
    """
    escaped = html.escape(title)
    with atomic_writer(path) as file:
        file.write(
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{escaped}</title><style>{STYLE}</style>\n<h1>{escaped}</h1>\n"
            + "\n".join(parts)
            + "</html>\n"
        )
