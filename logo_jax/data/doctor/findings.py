"""Findings of one examination: collected by kind, with their first examples."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from logo_jax.data.doctor.kinds import KINDS, SEVERITIES

# Examples of one finding that are kept (for the JSON file) and shown in its sentence.
KEPT = 10_000
SHOWN = 3
CLIPS_SHOWN = 2

# Line breaks and other characters that would break a line of the report, and the surrogates that
# stand for bytes of a name that is not UTF-8.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


@dataclasses.dataclass
class Finding:
    """All that was found of one kind.

    Attributes:
        code: a key of `KINDS`.
        severity: of the kind, unless it was lowered.
        count: how often.
        mend: what to do, as that of the kind, or as the data set wants it.
        examples: the first of them, printable: file or row, and what is wrong there.
        counts: how many each example stands for.
        clips: names of the first clips that it is about, to show their frames.
    """

    code: str
    severity: str
    mend: str
    count: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)
    counts: list[int] = dataclasses.field(default_factory=list)
    clips: list[str] = dataclasses.field(default_factory=list)

    @property
    def sentence(self) -> str:
        """What was found, how often, and the first examples."""
        kind = KINDS[self.code]
        what = f"{self.count:,} {kind.one if self.count == 1 else kind.many}"
        shown = "; ".join(example.removesuffix(".") for example in self.examples[:SHOWN])
        rest = self.beyond(SHOWN)
        more = f"; and {rest:,} more" if rest else ""
        return f"{what}: {shown}{more}."

    def beyond(self, shown: int) -> int:
        """How many there are beside those that the first examples stand for."""
        return self.count - sum(self.counts[:shown])

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "sentence": self.sentence,
            "mend": self.mend,
            "examples": self.examples,
        }


class Findings:
    """Collects findings; memory is bounded however many there are."""

    def __init__(
        self,
        severities: Mapping[str, str] | None = None,
        mends: Mapping[str, str] | None = None,
    ):
        """Collect nothing yet.

        Args:
            severities: code -> severity, where it is another than that of its kind.
            mends: code -> mend, where it is another than that of its kind.
        """
        self._severities = dict(severities or {})
        self._mends = dict(mends or {})
        self._found: dict[str, Finding] = {}

    def add(self, code: str, example: str, count: int = 1, clips: Sequence[str] = ()) -> None:
        """Note one more of the kind `code`.

        Args:
            code: a key of `KINDS`.
            example: where, and what is wrong there.
            count: how many it stands for.
            clips: the clips that it is about.
        """
        finding = self._found.get(code)
        if finding is None:
            severity = self._severities.get(code, KINDS[code].severity)
            mend = self._mends.get(code, KINDS[code].mend)
            finding = self._found[code] = Finding(code, severity, mend)
        finding.count += count
        if len(finding.examples) < KEPT:
            finding.examples.append(printable(example))
            finding.counts.append(count)
        if len(finding.clips) < CLIPS_SHOWN:
            finding.clips += [clip for clip in clips if clip not in finding.clips]

    def __contains__(self, code: str) -> bool:
        return code in self._found

    def sorted(self) -> list[Finding]:
        """All findings, errors first, in the order of `KINDS`."""
        order = list(KINDS)
        return sorted(
            self._found.values(), key=lambda f: (SEVERITIES.index(f.severity), order.index(f.code))
        )

    def of(self, severity: str) -> list[Finding]:
        return [finding for finding in self.sorted() if finding.severity == severity]

    def lines(self) -> list[str]:
        """One line for each finding, for a terminal."""
        return [f"{found.severity}: {found.sentence} {found.mend}" for found in self.sorted()]


def printable(text: str) -> str:
    """Escape what would break a line or is no character, such as a line break in a file name."""
    return _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text)


def joined(names: Iterable[str], limit: int = 10) -> str:
    """Names in one line, at most `limit` of them."""
    names = list(names)
    rest = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
