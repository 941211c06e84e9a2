"""A run's row among the published ones: what is beside it, what is set apart, what is bold."""

from dataclasses import replace

from logo_jax.common.page import write_page
from logo_jax.evaluation.published import CLASSES
from logo_jax.evaluation.published_table import OurRow, published_table
from tests.common.chromium import open_page

OURS = OurRow(
    "ours", "DS", "best_on_test", "pooled", 5, 10.28,
    dict(zip(CLASSES, (87.361, 50.0, 60.0, 71.331, 50.0, None, 30.0), strict=True)), 54.0, 66.98499,
)  # fmt: skip


def rows(dataset, *ours):
    table = published_table(dataset, ours)
    return {row[0]: dict(zip(table.head, row, strict=True)) for row in table.body}


def bold(row):
    return {name for name, cell in row.items() if getattr(cell, "mark", "") == "best"}


def test_other_sampling_selection_and_aggregation_are_set_apart():
    found = rows("dfew", OURS)
    assert found["EC-STFL"]["comparable"] == "no: sampling TI"
    assert found["DFER-CLIP"]["comparable"] == "no: aggregation fold_mean"
    assert found["Former-DFER"]["comparable"] == "yes"
    assert found["LOGO-Former"]["comparable"] == "as far as stated"  # its selection is unknown
    marks = {name: cell.mark for name, cell in found["EC-STFL"].items()}
    assert marks.pop("comparable") == marks.pop("source") == "gray left"
    assert set(marks.values()) == {"gray"}
    last = rows("dfew", replace(OURS, selection="last"))
    assert last["Former-DFER"]["comparable"] == "no: selection best_on_test"
    one = rows("dfew", replace(OURS, folds=1))
    assert one["LOGO-Former"]["comparable"] == "no: 5 folds, ours 1"
    names = list(found)
    assert names.index("LOGO-Former") < names.index("ours") < names.index("EC-STFL")


def test_the_best_of_the_comparable_is_bold():
    found = rows("dfew", OURS)
    assert not bold(found["MMA-DFER"]) and found["MMA-DFER"]["comparable"] == "no: sampling unknown"
    assert bold(found["STT"]) == {"happy", "sad", "disgust", "fear", "UAR"}
    assert bold(found["ours"]) == {"happy", "angry", "WAR"}  # as printed, as good as two others
    assert bold(found["LOGO-Former"]) == {"neutral", "angry", "WAR"}
    assert found["ours"]["disgust"] == "-"
    assert found["ours"]["WAR"] == "66.98"
    assert not bold(found["EC-STFL"])


def test_rows_of_ours_that_differ_from_the_first_are_set_apart():
    last = replace(OURS, method="last", selection="last")
    best = replace(OURS, method="best", war=99.0)
    folds = replace(last, method="mean", aggregation="fold_mean", uar=98.0, recalls={})
    found = rows("dfew", last, best, folds)
    assert bold(found["last"]) and not bold(found["best"]) and not bold(found["mean"])
    assert found["last"]["comparable"] == "this run"
    assert found["best"]["comparable"] == "this run; no: selection best_on_test"
    assert found["mean"]["comparable"] == "this run; no: aggregation fold_mean"
    assert all(cell.mark.startswith("gray") for cell in found["best"].values())


def test_nothing_published_stands_beside_other_clips_than_the_test_set():
    found = rows("dfew", replace(OURS, apart="judged on val"))
    assert found["LOGO-Former"]["comparable"] == "no: ours judged on val"
    assert found["ours"]["comparable"] == "this run" and not bold(found["LOGO-Former"])
    found = rows("dfew", OURS, replace(OURS, method="val", apart="judged on val"))
    assert found["val"]["comparable"] == "this run; no: judged on val"


def test_the_widest_table_fits_on_paper(tmp_path):
    mean = replace(OURS, method="a_long_name_of_a_run, mean of folds", aggregation="fold_mean")
    write_page(tmp_path / "page.html", "t", [published_table("dfew", [OURS, mean]).html()])
    text = (tmp_path / "page.html").read_text()
    assert text.count("@media print{") == 2
    (tmp_path / "page.html").write_text(text.replace("@media print{", "@media all{"))
    opened = open_page(tmp_path / "page.html", tmp_path / "browser", width=718)  # A4, as printed
    assert not opened.wider and opened.errors == []


def test_table_2_has_the_cost():
    found = rows("ferv39k", replace(OURS, aggregation="official_split", folds=1))
    assert found["LOGO-Former"]["cost"] == "10.27" and found["ours"]["cost"] == "10.28"
    assert found["LOGO-Former"]["UAR"] == "38.22" and "happy" not in found["LOGO-Former"]
    assert published_table("synthetic_faces", [OURS]) is None
