"""Pictures of views: channels in their colours, outlines, boxes, overlays.

Pillow writes them as WebP into the page: a third of the size of PNG, and every browser of
the last years shows it. Lines are drawn into a grey picture, so that no colour of a
channel hides them, and without loss, so that they stay sharp.
"""

import base64
import io
import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from .pixels import Array, resize
from .views import Channel, View

PALETTE = ("#ffd60a", "#4cc9f0", "#ff7ab8", "#8ee04a", "#ff9f1c", "#b79cff")
MAGENTA, GREEN = "#ff00ff", "#00ff00"
Window = tuple[float, float]


@dataclass
class Picture:
    """A picture with its caption.

    Attributes:
        data: Data URI.
        width: In pixels.
        height: In pixels.
        alt: What it shows, for those who cannot see it.
        title: What it is, in two or three words.
        keys: Colour (or none), name, and a text about it.
        notes: What else has to be known, in words.
        pixelated: Whether its pixels are shown as squares.
    """

    data: str
    width: int
    height: int
    alt: str
    title: str
    keys: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pixelated: bool = False


def encode(pixels: Array, *, lossless: bool = False) -> str:
    """A data URI."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if lossless:
        image.save(file, "webp", lossless=True, quality=60, method=3)
    else:
        image.save(file, "webp", quality=85, method=3)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def windows(view: View, reference: "View | None" = None) -> list[tuple[Window, str]]:
    """Display range of each channel, and its source.

    By the metadata, if that shows something. Else by the pixels: by those of the channel of
    the same name in the reference view if they do, so that the two can be compared.
    """
    found: list[tuple[Window, str]] = []
    before: dict[str, Window] = {}
    if reference:
        pairs = zip(reference.channels, windows(reference), strict=True)
        before = {channel.name: window for channel, (window, _) in pairs}
    for channel in view.channels:
        if channel.window and shows(channel.pixels, channel.window):
            found.append((channel.window, "by its metadata"))
        elif channel.name in before and shows(channel.pixels, before[channel.name]):
            found.append((before[channel.name], "as before"))
        else:
            found.append((stretched(channel.pixels), "1st to 99.8th percentile"))
    return found


def shows(pixels: Array, window: Window) -> bool:
    """Whether a display range shows more than black or full color."""
    low, high = window
    bright = float(np.percentile(pixels, 99.8))
    return bright >= low + (high - low) * 0.08 and float(np.median(pixels)) <= high


def stretched(pixels: Array) -> Window:
    """A window by percentiles, never empty."""
    low, high = np.percentile(pixels, (1, 99.8)).tolist()
    return (low, high) if high > low else (low, max(low + 1, np.nextafter(low, np.inf)))


def scaled(pixels: Array, window: Window) -> Array:
    """Pixels as parts of 1, within the window."""
    low, high = window
    return np.clip((pixels.astype(np.float64) - low) / (high - low), 0, 1)


def mixed(channels: list[Channel], chosen: list[Window]) -> Array:
    """The channels in their colours, added up."""
    height, width = channels[0].pixels.shape
    total = np.zeros((height, width, 3))
    for channel, window in zip(channels, chosen, strict=True):
        colour = np.array(ImageColor.getrgb(channel.colour)[:3])
        total += scaled(channel.pixels, window)[..., None] * colour
    return np.minimum(total + 0.5, 255).astype(np.uint8)


def grey(view: View) -> Array:
    """The brightest of the channels, from 0 to 1."""
    pairs = zip(view.channels, windows(view), strict=True)
    result: Array = np.max([scaled(c.pixels, w) for c, (w, _) in pairs], axis=0)
    return result


def rgb(pixels: Array) -> Array:
    """A grey picture, of parts of 1, that can be drawn into."""
    return np.repeat((pixels * 255).astype(np.uint8)[..., None], 3, axis=2)


def plain(view: View, name: str, title: str, before: View | None = None) -> Picture:
    """A picture of the channels."""
    chosen = windows(view, before)
    pixels = mixed(view.channels, [window for window, _ in chosen])
    keys = [
        (channel.colour, channel.name, f"{number(w[0])} to {number(w[1])}, {source}")
        for channel, (w, source) in zip(view.channels, chosen, strict=True)
    ]
    names = ", ".join(channel.name for channel in view.channels)
    picture = finish(view, pixels, f"{title}: {names} of {name}", title, keys, False)
    if before and looks(view, chosen) == looks(before, windows(before)):
        picture.keys = []
        picture.notes.insert(0, "same colours and contrast")
    return picture


def looks(
    view: View, chosen: list[tuple[Window, str]]
) -> list[tuple[str, str, Window]]:
    """Caption of the channels."""
    pairs = zip(view.channels, chosen, strict=True)
    return [(channel.name, channel.colour, window) for channel, (window, _) in pairs]


def outlined(view: View, label: str, name: str) -> Picture:
    """A picture with the outlines of labels: neighbours have different colours."""
    labels = view.labels[label].astype(np.int64)
    pixels = rgb(grey(view) * 0.75)
    palette = np.array([ImageColor.getrgb(colour) for colour in PALETTE], np.uint8)
    edges = outlines(labels)
    pixels[edges] = palette[labels[edges] % len(palette)]
    n = len(np.unique(labels[labels != 0]))
    objects = f"{n} object{'' if n == 1 else 's'}"
    alt = f"Outlines of {objects} of the label image {label} over {name}"
    keys = [("", label, f"{objects} in this picture, outlined")]
    return finish(view, pixels, alt, f"label {label}", keys, True)


def outlines(labels: Array) -> Array:
    """Mask of the outermost pixels of objects."""
    padded = np.pad(labels, 1, mode="edge")
    inside = padded[1:-1, 1:-1]
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    differs = np.logical_or.reduce([inside != neighbour for neighbour in around])
    result: Array = differs & (labels != 0)
    return result


def boxed(view: View, tables: list[str], name: str) -> Picture:
    """A picture with the regions of tables."""
    image = Image.fromarray(rgb(grey(view) * 0.75))
    draw = ImageDraw.Draw(image)
    keys = []
    # The widest first, so that none hides another: each is a pixel further inside.
    for index, table in enumerate(tables):
        colour = PALETTE[index % len(PALETTE)]
        boxes = view.regions[table]
        for top, left, bottom, right in boxes.values():
            corners = [left + index, top + index, right - 1 - index, bottom - 1 - index]
            if corners[0] <= corners[2] and corners[1] <= corners[3]:
                draw.rectangle([round(n) for n in corners], outline=colour)
        count = f"{len(boxes)} region{'' if len(boxes) == 1 else 's'}"
        keys.append((colour, table, count))
    counts = ", ".join(f"{count} of {table}" for _, table, count in keys)
    alt = f"Boxes of {counts} over {name}"
    return finish(view, np.asarray(image), alt, "regions", keys, True)


def overlaid(first: View, second: View, names: tuple[str, str], title: str) -> Picture:
    """Two images of a well in magenta and green: where they agree, it is white or grey."""
    magenta, green = grey(first), grey(second)
    if magenta.shape != green.shape:
        green = resize(green, (magenta.shape[0], magenta.shape[1]))
    pixels = (np.stack([magenta, green, magenta], axis=2) * 255).astype(np.uint8)
    keys = [(MAGENTA, names[0], ""), (GREEN, names[1], "")]
    alt = f"{title}: {names[0]} in magenta and {names[1]} in green"
    return finish(first, pixels, alt, title, keys, False)


def finish(
    view: View,
    pixels: Array,
    alt: str,
    title: str,
    keys: list[tuple[str, str, str]],
    lossless: bool,
) -> Picture:
    """Add the scale bar and the notes below."""
    pixels, bar = with_bar(view, pixels)
    height, width = view.frame
    enlarged = view.small.shape[1] <= width / 2
    notes = [*view.small.notes, *bar]
    data = encode(pixels, lossless=lossless or enlarged)
    return Picture(data, width, height, alt, title, keys, notes, enlarged)


def with_bar(view: View, pixels: Array) -> tuple[Array, list[str]]:
    """Draw a bar of a round length, about a fifth of the picture."""
    height, width = pixels.shape[:2]
    full = view.small.size[1]
    if width < 96 or height < 48 or not 0 < full < math.inf:
        return pixels, []
    unit = view.unit or "pixels"
    full = full if view.unit else view.small.shape[1]
    power = 10 ** math.floor(math.log10(full / 5))
    length = max(n * power for n in (1, 2, 5) if n * power <= full / 5 * 1.0001)
    right, bottom = width - 8, height - 8
    left = right - max(round(length / full * width), 1)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    draw.rectangle([left - 1, bottom - 4, right + 1, bottom + 1], fill="#000000")
    draw.rectangle([left, bottom - 3, right, bottom], fill="#ffffff")
    return np.asarray(image), [f"bar {length:g} {unit}"]


def number(value: float) -> str:
    """A grey value in few digits."""
    whole = 100 <= abs(value) < 1e6 or (value == int(value) and abs(value) < 1e6)
    return f"{value:.0f}" if whole else f"{value:.3g}"
