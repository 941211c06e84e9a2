"""The order of a clip's frames in time, and the traps in their names."""

import itertools
import os
import re
from collections import Counter

from logo_jax.data.frames import frame_order, order_is_doubtful

_DIGITS = re.compile(r"[0-9]+")


def in_order(names: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Sort the frames of one clip in time, and find traps in their names as (code, detail)."""
    as_text = sorted(names)
    numbers = _counted(as_text)
    if numbers is None:
        return _in_odd_order(as_text)
    issues = []
    last = [int(number) for number in numbers]
    ordered = as_text
    if any(a > b for a, b in itertools.pairwise(last)):
        ordered = [name for _, name in sorted(zip(last, as_text, strict=True))]
        issues.append(_text_order(ordered, as_text))
    shortest, longest = min(numbers, key=len), max(numbers, key=len)
    if len(shortest) < len(longest) and any(
        number[0] == "0" and len(number) > len(shortest) for number in numbers
    ):
        issues.append(("mixed_padding", f"{shortest} beside {longest}"))
    low, high, count = min(last), max(last), len(last)
    if high - low + 1 > count:
        last.sort()
        steps = [b - a for a, b in itertools.pairwise(last)]
        if len(set(steps)) > 1:  # every fifth frame is a choice and no gap
            before = next(a for a, step in zip(last, steps, strict=False) if step > min(steps))
            lost = high - low + 1 - count
            issues.append(("gaps", f"{lost} numbers are missing, the first after {before}"))
    return ordered, issues


def _counted(names: list[str]) -> list[str] | None:
    """The digits of the frames' numbers, where names are one prefix, a number of their own and a
    suffix, as nearly all are; else None."""
    numbers = []
    prefixes = set()
    for name in names:
        stem = name[: name.rindex(".")]
        prefix = stem.rstrip("0123456789")
        prefixes.add(prefix)
        numbers.append(stem[len(prefix) :])
    if len(prefixes) > 1 or not all(numbers) or len(set(map(int, numbers))) < len(numbers):
        return None
    if re.search(r"[0-9]\.$", prefixes.pop()):  # decimals, as in 0.04.jpg
        return None
    return numbers


def _in_odd_order(as_text: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """`in_order` of names that are not simply counted."""
    ordered = frame_order(as_text)
    issues = [_text_order(ordered, as_text)] if ordered != as_text else []
    same = [name for name, count in Counter(map(_plain, ordered)).items() if count > 1]
    twice = _in_two_families(as_text)
    if order_is_doubtful(as_text):
        issues.append(("order_unsure", f"{ordered[0]}, {ordered[1]}, ..., {ordered[-1]}"))
    if same:
        issues.append(("same_number", f"number {same[0]}"))
    elif twice:
        issues.append(("same_number", twice))
    return ordered, issues


def _in_two_families(names: list[str]) -> str:
    """Two frames of one number whose names differ in more than numbers, as those of two
    extractions do; "" without any. 1_2.jpg and 2_2.jpg may be seconds and frames."""
    first: dict[int, tuple[str, str]] = {}
    for name in names:
        stem = os.path.splitext(name)[0]
        numbers = _DIGITS.findall(stem)
        if numbers:
            family = _DIGITS.sub("0", stem)
            other, known = first.setdefault(int(numbers[-1]), (name, family))
            if known != family:
                return f"{other} and {name}"
    return ""


def _text_order(ordered: list[str], as_text: list[str]) -> tuple[str, str]:
    place = next(i for i, name in enumerate(ordered) if name != as_text[i])
    return "text_order", f"{as_text[place]} would come before {ordered[place]}"


def _plain(name: str) -> str:
    """A frame's name without suffix and padding: 007.jpg and 7.png are one frame."""
    stem = os.path.splitext(name)[0]
    return _DIGITS.sub(lambda found: str(int(found.group())), stem)
