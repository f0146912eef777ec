"""Pictures of views: channels in their colours, outlines, boxes, overlays.

Pillow writes them as WebP into the page: a third of the size of PNG, and every browser of
the last years shows it. Lines are drawn into a grey picture, so that no colour of a
channel hides them, and without loss, so that they stay sharp.
"""

import base64
import io
import math
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from ..engine.rules import count_of
from .pixels import CROP, Array, Place, nearest, resize
from .views import Channel, View

PALETTE = ("#ffd60a", "#22c3ff", "#ff4fa3", "#7be82e", "#ff8c1a", "#a98bff")
MAGENTA, GREEN = "#ff00ff", "#00ff00"
YELLOW, CYAN, WHITE = "#ffd60a", "#4cc9f0", "#ffffff"
Window = tuple[float, float]
SMALL = 150  # pixels of the longer side of a thumbnail


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
        plot: A histogram, as SVG.
        layers: Transparent pictures above it, by what they show: `outlines`, `fill`.
    """

    data: str
    width: int
    height: int
    alt: str
    title: str
    keys: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pixelated: bool = False
    plot: str = ""
    layers: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that it adds to the page."""
        return len(self.data) + len(self.plot) + sum(map(len, self.layers.values()))


def encode(pixels: Array, *, lossless: bool = False) -> str:
    """A data URI."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if lossless:
        image.save(file, "webp", lossless=True, exact=True, quality=60, method=3)
    else:
        image.save(file, "webp", quality=85, method=3)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def windows(view: View, reference: "View | None" = None) -> list[tuple[Window, str]]:
    """Display range of each channel, and its source, unless that is the metadata.

    By the metadata, if that shows something. Else by the pixels: by those of the channel of
    the same name in the reference view if they do, so that the two can be compared.
    """
    chosen: list[tuple[Window, str]] = []
    before: dict[str, Window] = {}
    if reference:
        pairs = zip(reference.channels, windows(reference), strict=True)
        before = {channel.name: window for channel, (window, _) in pairs}
    for channel in view.channels:
        own = own_window(channel)
        old = before.get(channel.name)
        if own[1] and old and shows(channel.pixels, old):
            chosen.append((old, ", as before"))
        else:
            chosen.append(own)
    return chosen


def own_window(channel: Channel) -> tuple[Window, str]:
    """Display range of a channel without a reference, and its source; found once."""
    if channel.shown is None:
        if channel.window and shows(channel.pixels, channel.window):
            channel.shown = channel.window, ""
        else:
            channel.shown = stretched(channel.pixels), " (1st to 99.8th percentile)"
    return channel.shown


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
    known = np.nan_to_num(pixels)
    return np.repeat((known * 255).astype(np.uint8)[..., None], 3, axis=2)


def plain(view: View, name: str, title: str, before: View | None = None) -> Picture:
    """A picture of the channels."""
    chosen = windows(view, before)
    pixels = mixed(view.channels, [window for window, _ in chosen])
    keys = [
        (channel.colour, channel.name, f"{number(w[0])} to {number(w[1])}{source}")
        for channel, (w, source) in zip(view.channels, chosen, strict=True)
    ]
    names = ", ".join(channel.name for channel in view.channels)
    picture = finish(view, pixels, f"{title}: {names} of {name}", title, keys)
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


def grey_of(channel: Channel) -> tuple[Array, Window]:
    """A channel from 0 to 1, and its window."""
    window, _ = own_window(channel)
    return scaled(channel.pixels, window), window


def outlined(view: View, label: str, name: str, channel: Channel) -> Picture:
    """A picture of a channel, with the outlines and areas of labels as layers.

    Args:
        view: View of the image.
        label: Name of the label image.
        name: Name of the image.
        channel: The channel below.
    """
    objects = view.objects.get(label)
    seen = len(np.unique(view.labels[label])) - int((view.labels[label] == 0).any())
    count = count_of(len(objects) if objects else seen, "object")
    text = objects.summary() if objects else f"{count} in this picture"
    grey, _ = grey_of(channel)
    alt = f"Outlines of {count} of the label image {label} over {name}"
    keys = [("", "", text), ("", "", f"on {channel.name}")]
    picture = finish(view, rgb(grey), f"{channel.name} of {name}", label, keys)
    picture.layers = label_layers(view.labels[label])
    picture.alt = alt
    return picture


def label_layers(labels: Array) -> dict[str, str]:
    """Outlines and areas of labels: neighbours have different colours.

    Args:
        labels: Labels in y and x.
    """
    labels = labels.astype(np.int64)
    palette = np.array([ImageColor.getrgb(colour) for colour in PALETTE], np.uint8)
    colours = palette[labels % len(palette)]
    edges = thick_outlines(labels)
    layers = {}
    for kind, alpha in (
        ("outlines", np.where(edges, 255, 0)),
        ("fill", np.where(labels != 0, 90, 0)),
    ):
        pixels = np.dstack([colours * (alpha > 0)[..., None], alpha]).astype(np.uint8)
        layers[kind] = encode(pixels, lossless=True)
    return layers


def crop(
    pixels: Array,
    labels: Array | None,
    window: Window,
    title: str,
    notes: list[str],
    alt: str,
) -> Picture:
    """A piece at full resolution, with labels.

    Args:
        pixels: Grey values in y and x.
        labels: Labels of the same shape, or None.
        window: Grey values of black and white.
        title: What it is.
        notes: What else has to be known.
        alt: What it shows, for those who cannot see it.
    """
    height, width = pixels.shape
    times = max(CROP // max(height, width), 1)
    image = rgb(scaled(pixels, window))
    picture = Picture(
        encode(image),
        width * times,
        height * times,
        alt,
        title,
        notes=notes,
        pixelated=times > 1,
    )
    if labels is not None:
        picture.layers = label_layers(labels)
    return picture


def outline_in_white(picture: Picture, mask: Array, name: str) -> None:
    """Draw the outline of an object above a picture of the same shape, with a key."""
    lines = np.zeros((*mask.shape, 4), np.uint8)
    lines[thick_outlines(mask.astype(np.int64))] = *ImageColor.getrgb(WHITE), 255
    picture.layers["lines"] = encode(lines, lossless=True)
    picture.keys.append((WHITE, name, ""))


def marked(pixels: Array, mask: Array, window: Window, alt: str) -> Picture:
    """A small picture of an object, with its outline.

    Args:
        pixels: Grey values in y and x.
        mask: Whether a pixel belongs to the object, of the same shape.
        window: Grey values of black and white.
        alt: What it shows, for those who cannot see it.
    """
    longer = max(pixels.shape)
    height, width = (max(round(n * min(SMALL / longer, 1)), 1) for n in pixels.shape)
    image = rgb(scaled(resize(pixels, (height, width)), window))
    mask = nearest(mask, (height, width))
    times = max(round(SMALL / longer), 1)
    image, mask = (part.repeat(times, 0).repeat(times, 1) for part in (image, mask))
    image[outlines(mask.astype(np.int64))] = ImageColor.getrgb(YELLOW)
    return Picture(encode(image), width * times, height * times, alt, "")


def window_text(window: Window) -> str:
    """A display range in words."""
    return f"{number(window[0])} to {number(window[1])}"


def by_itself(view: View, channel: Channel, name: str) -> Picture:
    """A channel in grey, with a histogram of its grey values and the saturated pixels."""
    grey, window = grey_of(channel)
    alt = f"{channel.name} of {name}"
    picture = finish(view, rgb(grey), alt, channel.name, [])
    picture.notes.append(f"shown: {window_text(window)}")
    if (sharp := channel.sharp) and sharp.counts:
        if math.isfinite(sharp.limit):
            part = f"{100 * sharp.saturated:.2g} %" if sharp.saturated else "none"
            picture.notes.append(
                f"saturated (at {sharp.limit:g}): {part} of {sharp.summarized}"
            )
        picture.plot = small_histogram(sharp.counts, sharp.edges, window, channel.name)
    return picture


def small_histogram(
    counts: list[int], edges: tuple[float, float], window: Window, name: str
) -> str:
    """A histogram of grey values as SVG, on a logarithmic scale, with the display range.

    A few bars need no library, and a page has many of them.
    """
    width, height = 200, 36
    low, high = edges[0], max(edges[1], edges[0] + 1e-9)
    most = math.log1p(max(counts))
    step = width / len(counts)
    bars = "".join(
        f"M{n * step:.1f} {height}V{height * (1 - math.log1p(count) / most):.1f}h{step:.1f}V{height}"
        for n, count in enumerate(counts)
        if count
    )
    start, end = (
        min(max((value - low) / (high - low), 0), 1) * width for value in window
    )
    alt = f"Grey values of {name}, from {number(low)} to {number(edges[1])}"
    return (
        f'<svg class="histogram" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(alt)}"><rect x="{start:.1f}" width="{max(end - start, 1):.1f}" '
        f'height="{height}"/><path d="{bars}"/></svg>'
    )


def thumbnail(view: View, label: str | None, channel: Channel, name: str) -> Picture:
    """A small picture of an image, or of a label image on a channel."""
    height, width = view.frame
    ratio = SMALL / max(height, width)
    frame = max(round(height * ratio), 1), max(round(width * ratio), 1)
    if label is None:
        pixels = mixed(view.channels, [window for window, _ in windows(view)])
    else:
        pixels = rgb(grey_of(channel)[0])
    small = np.array(Image.fromarray(pixels).resize(frame[::-1]))
    notes = []
    if label is not None:
        labels = nearest(view.labels[label], frame).astype(np.int64)
        palette = np.array([ImageColor.getrgb(colour) for colour in PALETTE], np.uint8)
        edges = outlines(labels)
        small[edges] = palette[labels[edges] % len(palette)]
        if (objects := view.objects.get(label)) is not None:
            notes.append(f"{len(objects)} {label}")
    alt = f"{label or 'pixels'} of {name}"
    return Picture(encode(small), frame[1], frame[0], alt, "", notes=notes)


def changed(before: Array, after: Array, name: str) -> Picture | None:
    """Difference of two pieces of the same shape: brighter in orange, darker in blue."""
    if before.shape != after.shape:
        return None
    difference = after.astype(float) - before.astype(float)
    most = float(np.percentile(np.abs(difference), 99.8)) or float(
        np.abs(difference).max()
    )
    if not most:
        return None
    part = np.clip(difference / most, -1, 1)[..., None]
    up, down = (np.array(ImageColor.getrgb(c)) for c in ("#ff9f1c", "#4cc9f0"))
    pixels = np.where(part > 0, part * up, -part * down)
    keys = [
        ("#ff9f1c", "brighter", f"by up to {number(most)}"),
        ("#4cc9f0", "darker", ""),
    ]
    alt = f"Difference of {name}: brighter in orange, darker in blue"
    height, width = before.shape
    return Picture(
        encode(pixels.astype(np.uint8)), width, height, alt, "difference", keys
    )


def overlapping(
    grey: Array, first: Array, second: Array, names: tuple[str, str], title: str
) -> Picture:
    """Outlines of two label images of one image on each other; where both are, white.

    Args:
        grey: The picture below, from 0 to 1.
        first: Labels of the first, of the same shape.
        second: Labels of the second.
        names: Names of the two.
        title: What the picture is.
    """
    lines = np.zeros((*grey.shape, 4), np.uint8)
    left, right = (
        thick_outlines(labels.astype(np.int64)) for labels in (first, second)
    )
    for mask, colour in ((left, YELLOW), (right, CYAN), (left & right, WHITE)):
        lines[mask] = *ImageColor.getrgb(colour), 255
    keys = [(YELLOW, f"only {names[0]}", ""), (CYAN, f"only {names[1]}", "")]
    keys.append((WHITE, "both", ""))
    alt = f"Outlines of {names[0]} in yellow and of {names[1]} in cyan"
    height, width = grey.shape
    picture = Picture(encode(rgb(grey * 0.7)), width, height, alt, title, keys)
    picture.layers["lines"] = encode(lines, lossless=True)
    return picture


def thick_outlines(labels: Array) -> Array:
    """Mask of the outlines of objects, thicker in larger pictures: these are shown smaller."""
    edges = outlines(labels)
    for _ in range(round(max(labels.shape) / 320) - 1):
        # Inwards, so that objects do not grow.
        edges |= outlines(np.where(edges, 0, labels)) & (labels != 0)
    return edges


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
    image = Image.new("RGBA", view.frame[::-1])
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
        keys.append((colour, table, count_of(len(boxes), "region")))
    counts = ", ".join(f"{count} of {table}" for _, table, count in keys)
    alt = f"Boxes of {counts} over {name}"
    picture = finish(view, rgb(grey(view) * 0.75), alt, "regions", keys)
    picture.layers["lines"] = encode(np.asarray(image), lossless=True)
    return picture


def dotted(view: View, table: str, name: str, channel: Channel) -> Picture:
    """A picture of a channel with a ring around each point of a table."""
    points = view.points[table]
    grey, _ = grey_of(channel)
    count = count_of(len(points), "point")
    alt = f"{count} of the table {table} on {channel.name} of {name}"
    keys = [("", "", count), ("", "", f"on {channel.name}")]
    picture = finish(view, rgb(grey), alt, table, keys)
    picture.layers["lines"] = rings(points, view.small.place, view.frame)
    return picture


def rings(points: Array, place: Place, frame: tuple[int, int]) -> str:
    """Rings around points, as a transparent picture.

    Args:
        points: y and x as parts of the image, shape (n, 2).
        place: The part of the image that the picture shows.
        frame: Height and width of the picture in pixels.
    """
    image = Image.new("RGBA", frame[::-1])
    draw = ImageDraw.Draw(image)
    top, left, bottom, right = place
    radius = max(max(frame) // 100, 3)
    for y, x in points.tolist():
        row = (y - top) / (bottom - top) * frame[0]
        column = (x - left) / (right - left) * frame[1]
        box = (column - radius, row - radius, column + radius, row + radius)
        draw.ellipse(box, outline=YELLOW, width=max(radius // 3, 1))
    return encode(np.asarray(image), lossless=True)


def overlaid(first: View, second: View, names: tuple[str, str], title: str) -> Picture:
    """Two images of a well in magenta and green: where they agree, it is white or grey."""
    magenta, green = grey(first), grey(second)
    if magenta.shape != green.shape:
        green = resize(green, (magenta.shape[0], magenta.shape[1]))
    pixels = (np.stack([magenta, green, magenta], axis=2) * 255).astype(np.uint8)
    keys = [(MAGENTA, names[0], ""), (GREEN, names[1], "")]
    alt = f"{title}: {names[0]} in magenta and {names[1]} in green"
    return finish(first, pixels, alt, title, keys)


def finish(
    view: View,
    pixels: Array,
    alt: str,
    title: str,
    keys: list[tuple[str, str, str]],
) -> Picture:
    """Add the scale bar and the notes below."""
    pixels = with_bar(pixels, view.small.size[1], view.unit, view.small.shape[1])
    height, width = view.frame
    enlarged = view.small.shape[1] <= width / 2
    notes = [*view.small.notes]
    data = encode(pixels, lossless=enlarged)
    return Picture(data, width, height, alt, title, keys, notes, enlarged)


def with_bar(pixels: Array, full: float, unit: str, n_pixels: float) -> Array:
    """Draw a bar of a round length, about a fifth of the picture, with its length.

    Args:
        pixels: The picture.
        full: Its width in the unit.
        unit: Unit of length; empty if there is none.
        n_pixels: Its width in pixels of full resolution, for want of a unit.
    """
    height, width = pixels.shape[:2]
    if width < 96 or height < 64 or not 0 < full < math.inf:
        return pixels
    unit, full = (unit, full) if unit else ("pixels", n_pixels)
    power = 10 ** math.floor(math.log10(full / 5))
    length = max(n * power for n in (1, 2, 5) if n * power <= full / 5 * 1.0001)
    right, bottom = width - 8, height - 8
    left = right - max(round(length / full * width), 1)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    draw.rectangle([left - 1, bottom - 4, right + 1, bottom + 1], fill="#000000")
    draw.rectangle([left, bottom - 3, right, bottom], fill="#ffffff")
    # That of matplotlib has a µ, and Pillow's own has not.
    file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    font = ImageFont.truetype(file, max(width / 24, 10))
    draw.text(
        (right, bottom - 6),
        f"{length:g} {unit}",
        "#ffffff",
        font,
        anchor="rs",
        stroke_width=2,
        stroke_fill="#000000",
    )
    return np.asarray(image)


def number(value: float) -> str:
    """A grey value in few digits."""
    whole = 100 <= abs(value) < 1e6 or (value == int(value) and abs(value) < 1e6)
    return f"{value:.0f}" if whole else f"{value:.3g}"
