"""Who is filmed and how: everything of a synthetic clip but the expression.

All that changes over time is drawn from processes whose law stays the same when time runs
backwards (waves with random phases, bell-shaped bursts at random times, levels held between random
times, straight paths of either direction), so that the first frame of a clip is distributed like
its last one. Lengths are in pixels of a frame of 112 px, angles in degrees, colours RGB 0..255.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

Channel = float | int  # run-time shape checks take an int for no float
Colour = tuple[Channel, Channel, Channel]

# Light to dark; an identity lies between two neighbours.
SKINS = (
    (250, 219, 196),
    (240, 196, 160),
    (217, 163, 124),
    (178, 121, 84),
    (126, 82, 56),
    (84, 55, 40),
)
HAIRS = ((32, 26, 24), (58, 40, 30), (96, 62, 38), (150, 104, 56), (206, 168, 104), (140, 62, 34))
GREY = (176, 174, 170)
CLOTHES = ((60, 78, 120), (130, 52, 56), (66, 100, 76), (88, 88, 94), (196, 186, 160), (40, 40, 52))
HAIR_STYLES = ("bald", "short", "short", "fringe", "long", "long", "curly")
BEARDS = ("none", "none", "none", "stubble", "full", "moustache")
GLASSES = ("none", "none", "none", "round", "square")
OCCLUDERS = ("hand", "bar", "ball")


@dataclasses.dataclass(frozen=True)
class Identity:
    """One person: form and colours, the same in all of the person's clips."""

    half_width: float  # of the face
    top: float  # from the face's centre to the crown
    bottom: float  # from the face's centre to the chin
    squareness: float  # exponent of the lower face's superellipse; 2 is an ellipse
    eye_distance: float  # from the middle line to an eye's centre
    eye_width: float  # half of it
    eye_height: float  # half of it
    brow_height: float  # y of the brows at rest, negative is up
    brow_thickness: float
    brow_arch: float
    nose_length: float
    nose_width: float
    mouth_height: float  # y of the mouth at rest
    mouth_width: float  # half of it
    lip: float  # thickness
    rest_curve: float  # y of the mouth's corners at rest, against its middle
    age: float  # 0 to 1: lines, grey, a longer lower face
    hairline: float
    skin: Colour
    hair: Colour
    brow: Colour
    iris: Colour
    lips: Colour
    clothes: Colour
    hair_style: str
    beard: str
    glasses: str


@dataclasses.dataclass(frozen=True)
class NuisanceRanges:
    """How strongly the filming varies. A pair is a range, one number the largest size."""

    yaw: float  # of the head, degrees
    pitch: float
    roll: float
    drift: float  # further turning during the clip, degrees
    scale: tuple[float, float]  # size of the face
    shift: float  # of the whole clip: imperfect alignment, px
    jitter: float  # of each frame by itself, px, standard deviation
    light: float  # change of brightness from clip to clip, as a share
    light_drift: float  # further change during the clip
    side_light: float  # darkening of the side away from the light
    colour_cast: float
    blur: float  # standard deviation, px
    noise: float  # standard deviation, grey levels
    occluder_probability: float
    jpeg_quality: tuple[int, int]
    speech_probability: float
    speech: float  # strength of speech, as mouth opening
    blink_rate: float  # blinks for each frame
    gaze: float  # shift of the irises, px
    tremor: float  # small drifts of all movements, standard deviation
    clutter: int  # shapes in the background, at most


@dataclasses.dataclass(frozen=True)
class Nuisance:
    """How one clip was filmed."""

    yaw: float
    pitch: float
    roll: float
    drift: float
    scale: float
    shift_x: float
    shift_y: float
    jitter: float
    light: float
    light_drift: float
    side_light: float
    cast: Colour
    blur: float
    noise: float
    occluder: str
    occluder_size: float  # half of its width, px; 0 for none
    jpeg_quality: int
    speech: float
    blink_rate: float
    gaze: float
    tremor: float
    clutter: int


def draw_identity(rng: np.random.Generator) -> Identity:
    """Draw a person."""
    age = rng.beta(1.2, 1.6)
    skin = _between(SKINS, rng.uniform(0, len(SKINS) - 1))
    hair = shade(HAIRS[rng.integers(len(HAIRS))], rng.uniform(0.8, 1.15))
    # Dark skin seldom goes with fair hair; the draw stays simple, dark brown takes its place.
    if _luma(skin) < 140 and _luma(hair) > 90:
        hair = shade(HAIRS[rng.integers(2)], rng.uniform(0.8, 1.15))
    hair = mix(hair, GREY, max(0.0, age - 0.55) * 2.0)
    # Brows must stand out from the skin whatever the hair.
    brow = shade(hair, 0.7)
    limit = 0.5 * _luma(skin)
    if _luma(brow) > limit:
        brow = shade(brow, limit / _luma(brow))
    style = HAIR_STYLES[rng.integers(len(HAIR_STYLES))]
    return Identity(
        half_width=rng.uniform(27.5, 32.5),
        top=rng.uniform(35.0, 39.0),
        bottom=rng.uniform(39.0, 43.0) + 1.5 * age,
        squareness=rng.uniform(1.8, 2.5),
        eye_distance=rng.uniform(11.8, 13.8),
        eye_width=rng.uniform(6.2, 7.8),
        eye_height=rng.uniform(3.2, 4.4) - 0.5 * age,
        brow_height=rng.uniform(-18.5, -16.5),
        brow_thickness=rng.uniform(2.6, 4.4),
        brow_arch=rng.uniform(0.8, 2.6),
        nose_length=rng.uniform(8.0, 11.5),
        nose_width=rng.uniform(4.2, 6.5),
        mouth_height=rng.uniform(19.5, 21.5),
        mouth_width=rng.uniform(13.0, 16.0),
        lip=rng.uniform(1.8, 3.2),
        rest_curve=rng.uniform(-0.6, 0.8),
        age=age,
        hairline=rng.uniform(-30.5, -27.5) - (3.0 * age if style != "fringe" else 0.0),
        skin=skin,
        hair=hair,
        brow=brow,
        iris=((62, 44, 32), (92, 66, 40), (72, 104, 132), (84, 112, 84))[rng.integers(4)],
        lips=mix(shade(skin, 0.78), (176, 62, 66), rng.uniform(0.35, 0.75)),
        clothes=shade(CLOTHES[rng.integers(len(CLOTHES))], rng.uniform(0.75, 1.25)),
        hair_style=style,
        beard=BEARDS[rng.integers(len(BEARDS))],
        glasses=GLASSES[rng.integers(len(GLASSES))],
    )


def draw_nuisance(rng: np.random.Generator, ranges: NuisanceRanges) -> Nuisance:
    """Draw how one clip is filmed; nothing in here knows of the class."""
    occluder = rng.random() < ranges.occluder_probability
    return Nuisance(
        yaw=_symmetric(rng, ranges.yaw),
        pitch=_symmetric(rng, ranges.pitch),
        roll=_symmetric(rng, ranges.roll),
        drift=ranges.drift * rng.random(),
        scale=rng.uniform(*ranges.scale),
        shift_x=_symmetric(rng, ranges.shift),
        shift_y=_symmetric(rng, ranges.shift),
        jitter=ranges.jitter * rng.random(),
        light=1.0 + _symmetric(rng, ranges.light),
        light_drift=ranges.light_drift * rng.random(),
        side_light=ranges.side_light * rng.random(),
        cast=tuple(1.0 + _symmetric(rng, ranges.colour_cast) for _ in range(3)),  # type: ignore
        blur=ranges.blur * rng.random(),
        noise=ranges.noise * rng.random(),
        occluder=OCCLUDERS[rng.integers(len(OCCLUDERS))] if occluder else "none",
        occluder_size=rng.uniform(6.0, 13.0) if occluder else 0.0,
        jpeg_quality=int(rng.integers(ranges.jpeg_quality[0], ranges.jpeg_quality[1] + 1)),
        speech=ranges.speech * rng.uniform(0.5, 1.0)
        if rng.random() < ranges.speech_probability
        else 0.0,
        blink_rate=ranges.blink_rate,
        gaze=ranges.gaze,
        tremor=ranges.tremor,
        clutter=int(rng.integers(0, ranges.clutter + 1)),
    )


def waves(rng: np.random.Generator, num_frames: int, rows: int = 1) -> Float[np.ndarray, "R T"]:
    """Draw slow smooth paths of unit variance: three waves of random phase and length each.

    Wave lengths are 0.7 to 4 times the clip's, so that the drift is slow in short clips too.
    """
    time = np.linspace(0.0, 1.0, num_frames)
    cycles = rng.uniform(0.25, 1.4, size=(rows, 3, 1))
    phase = rng.uniform(0.0, 2 * np.pi, size=(rows, 3, 1))
    return np.sqrt(2 / 3) * np.cos(2 * np.pi * cycles * time + phase).sum(axis=1)


def speech(rng: np.random.Generator, num_frames: int) -> Float[np.ndarray, " T"]:
    """Draw mouth openings as of talking, 0 to 1: syllables under a bell at a random time."""
    time = np.arange(num_frames)
    centre = rng.uniform(-0.5, num_frames - 0.5)
    width = rng.uniform(0.3, 1.2) * num_frames
    bell = np.exp(-0.5 * ((time - centre) / (0.5 * width)) ** 2)
    syllables = np.cos(2 * np.pi * rng.uniform(0.1, 0.24) * time + rng.uniform(0, 2 * np.pi))
    stress = np.cos(2 * np.pi * rng.uniform(0.02, 0.06) * time + rng.uniform(0, 2 * np.pi))
    return bell * (0.5 + 0.5 * syllables) * (0.7 + 0.3 * stress)


def blinks(rng: np.random.Generator, num_frames: int, rate: float) -> Float[np.ndarray, " T"]:
    """Draw how far the eyes are closed, 0 to 1: bell-shaped blinks at random times."""
    time = np.arange(num_frames)
    closed = np.zeros(num_frames)
    # Two frames beyond either end, so that a blink may be under way there.
    for _ in range(rng.poisson(rate * (num_frames + 3))):
        centre = rng.uniform(-2.0, num_frames + 1.0)
        bell = np.exp(-(((time - centre) / rng.uniform(1.0, 2.0)) ** 2))
        closed = np.maximum(closed, bell)
    return closed


def glances(rng: np.random.Generator, num_frames: int, size: float) -> Float[np.ndarray, "2 T"]:
    """Draw the shift of the irises (x, y): held between glances at random times, px."""
    changes = np.sort(rng.uniform(0, num_frames, size=rng.poisson(num_frames / 20)))
    held = np.searchsorted(changes, np.arange(num_frames) + 0.5)
    levels = rng.uniform(-1.0, 1.0, size=(2, len(changes) + 1)) * np.array([[size], [0.4 * size]])
    return levels[:, held]


def _symmetric(rng: np.random.Generator, largest: float) -> float:
    """Draw from a bell between -largest and largest."""
    return min(max(rng.normal(0.0, 0.5), -1.0), 1.0) * largest


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return the colour that lies `share` of the way from `one` to `other`."""
    share = min(1.0, share)
    return tuple((1 - share) * a + share * b for a, b in zip(one, other, strict=True))  # type: ignore


def shade(colour: Colour, factor: float) -> Colour:
    """Return the colour made darker, or brighter, by `factor`."""
    return tuple(min(255.0, factor * value) for value in colour)  # type: ignore


def _between(stops: tuple[Colour, ...], place: float) -> Colour:
    index = min(int(place), len(stops) - 2)
    return mix(stops[index], stops[index + 1], place - index)


def _luma(colour: Colour) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
