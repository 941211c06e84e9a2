"""The command `doctor`: examine a copy of a data set before anything is trained."""

import argparse
import os
import time
from pathlib import Path

from logo_jax.common import files
from logo_jax.common.cores import num_cores
from logo_jax.common.errors import UserError
from logo_jax.data.doctor import verdict
from logo_jax.data.doctor.clip import DECODE_ALL, DECODE_NONE, DECODE_SAMPLE
from logo_jax.data.doctor.declared import HELP, Declared
from logo_jax.data.doctor.examination import examine
from logo_jax.data.doctor.page import write_report_page
from logo_jax.data.doctor.sets import EXAMINE
from logo_jax.data.faces import FaceDetector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of the doctor."""
    parser.add_argument("name", choices=tuple(EXAMINE), help="data set")
    parser.add_argument("--source", required=True, help="folder of the set as its authors give it")
    parser.add_argument("--output", default="", help="folder of the report (doctor/<name>)")
    parser.add_argument("--face_detector", default="", help="ONNX file of YuNet, to look at faces")
    parser.add_argument(
        "--decode", default=DECODE_NONE, choices=(DECODE_NONE, DECODE_SAMPLE, DECODE_ALL),
        help="frames whose pixels are decoded: none (ends of the files are read), sample (one a "
        "clip; 200 whole videos) or all (none)",
    )  # fmt: skip
    parser.add_argument(
        "--partial", action="store_true", help="it is meant to be a part of the data set"
    )
    parser.add_argument("--num_workers", type=int, help="processes; default: the cores")
    for name, text in HELP.items():
        parser.add_argument(f"--{name}", default="", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Examine a copy, print the verdict, and write the report.

    Returns:
        1 where training would be wrong, else 0.

    Raises:
        UserError: the source is no folder, an argument is wrong, or the report cannot be written.
    """
    start = time.monotonic()
    source = Path(arguments.source).expanduser().absolute()
    if not os.path.isdir(source):
        raise UserError(
            f"There is no folder {source}, or it may not be read: name the folder of the data set."
        )
    num_workers = num_cores() if arguments.num_workers is None else arguments.num_workers
    if num_workers < 0:
        raise UserError(f"--num_workers={num_workers}: give 0 or more.")
    detector = FaceDetector(arguments.face_detector) if arguments.face_detector else None
    output = Path(arguments.output or Path("doctor") / arguments.name).expanduser().absolute()
    inside = source.resolve() in (output.resolve(), *output.resolve().parents)
    if arguments.name == "frame_folders" and inside:
        raise UserError(
            f"The report would lie in the data set, at {output}, and be taken for a split of it: "
            "name a folder elsewhere with --output."
        )
    files.make_folder(output)
    found = examine(
        arguments.name,
        source,
        Declared(**{name: getattr(arguments, name) for name in HELP}),
        detector=detector,
        decode=arguments.decode,
        partial=arguments.partial,
        num_workers=num_workers,
    )
    report = {"data_set": arguments.name, "decoded": arguments.decode, **verdict.report(found)}
    report["seconds"] = round(time.monotonic() - start, 1)
    files.write_json(output / "report.json", report)
    write_report_page(output / "report.html", report, found, detector)
    for line in (*report["verdict"], *found.findings.lines()):
        print(line)
    print(f"The report lies in {output / 'report.html'} and {output / 'report.json'}.")
    return int(report["training_would_be_wrong"])
