"""Plots for the page, as SVG that is a part of it.

matplotlib draws them: its artists can carry links, and its text stays text, in the font of
the page. It knows no themes: colours that stand for others are replaced by CSS variables,
so that a plot is right in the light and in the dark, and when printed.
"""

import html
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pixels import Array

# Each stands for a colour of the page.
INK, FAINT, MARK, SOFT = "#010203", "#040506", "#070809", "#0a0b0c"
VARIABLES = {INK: "--ink", FAINT: "--faint", MARK: "--mark", SOFT: "--soft"}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
WIDTH = 3.6  # inches of 96 pixels: two or three plots stand side by side
numbers = itertools.count(1)


def histogram(values: Array, label: str, *, from_zero: bool = False) -> str:
    """How often values occur.

    Args:
        values: Numbers, of which some may be missing.
        label: What they are, with the unit.
        from_zero: Whether the axis has to begin at 0.
    """
    known = values[np.isfinite(values)]
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(WIDTH, 1.9)
        integers = bool(len(known)) and bool((known == np.round(known)).all())
        if integers and np.ptp(known) <= 30:
            low, high = known.min(), known.max()
            bins: Any = np.arange(low - 0.5, high + 1)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        else:
            bins = min(max(round(len(known) ** 0.5), 8), 40)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        if from_zero and len(known):
            # In 30 steps, so that what hardly differs is one bar.
            bins = np.linspace(0, max(known.max() * 1.001, 1e-9), 31)
            axes.set_xlim(0, bins[-1])
        axes.hist(known, bins, color=MARK, edgecolor=SOFT, linewidth=0.5)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.set_xlabel(label)
        axes.set_ylabel("count")
        missing = (
            f", {len(values) - len(known)} missing" if len(known) < len(values) else ""
        )
        middle = f"median {short(np.median(known))}, " if len(known) else ""
        alt = f"Histogram of {label}: {middle}{len(known)} values{missing}"
        return as_svg(figure, alt)


def boxes(groups: Mapping[str, Array], label: str) -> str:
    """Values of each group: a box of the middle half, the median, and the values.

    Args:
        groups: Numbers by the name of the group.
        label: What they are, with the unit.
    """
    known = {name: v[np.isfinite(v)] for name, v in groups.items()}
    known = {name: v for name, v in known.items() if len(v)}
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(WIDTH, 0.75 + 0.22 * len(known))
        line = {"color": MARK, "linewidth": 1}
        axes.boxplot(
            # Of a few values, only these are shown.
            [values if len(values) >= 5 else [] for values in known.values()],
            orientation="horizontal",
            showfliers=False,
            widths=0.6,
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops=line | {"linewidth": 2.5},
        )
        random = np.random.default_rng(0)
        for row, values in enumerate(known.values(), 1):
            some = (
                values
                if len(values) <= 60
                else random.choice(values, 60, replace=False)
            )
            heights = row + random.uniform(-0.2, 0.2, len(some))
            few = len(values) < 5
            look = (
                {"markersize": 4, "alpha": 0.9}
                if few
                else {"markersize": 1.8, "alpha": 0.4}
            )
            axes.plot(
                some,
                [row] * len(some) if few else heights,
                "o",
                color=INK,
                mew=0,
                **look,
            )
        sizes = {len(v) for v in known.values()}
        names = [n if len(sizes) == 1 else f"{n} ({len(v)})" for n, v in known.items()]
        axes.set_yticks(range(1, len(known) + 1), names)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(label)
        medians = ", ".join(f"{n} {short(np.median(v))}" for n, v in known.items())
        return as_svg(figure, f"{label} by group, medians: {medians}")


def plate_map(values: Mapping[str, float], label: str, links: Mapping[str, str]) -> str:
    """A plate, each well coloured by a value.

    Args:
        values: One by well, such as `B03`; NaN for none.
        label: What they are, with the unit.
        links: Where a click on a well leads.
    """
    places = {well: well_place(well) for well in values}
    n_rows = max(row for row, _ in places.values()) + 1
    n_columns = max(column for _, column in places.values()) + 1
    known = np.array([v for v in values.values() if np.isfinite(v)])
    low, high = (known.min(), known.max()) if len(known) else (0, 1)
    norm = mpl.colors.Normalize(low, high if high > low else low + 1)
    with mpl.rc_context(STYLE):
        large = n_columns > 12
        cell = 0.24 if large else min(0.45, 3.6 / n_columns)
        figure, axes = new_figure(max(cell * n_columns + 0.5, 2.4), cell * n_rows + 1)
        collection = PatchCollection(
            [Rectangle((c + 0.05, r + 0.05), 0.9, 0.9) for r, c in places.values()],
            cmap="viridis",
            norm=norm,
            edgecolor=FAINT,
            linewidth=0.6,
        )
        collection.set_array(np.ma.masked_invalid([*values.values()]))
        collection.get_cmap().set_bad("none")
        collection.set_urls([links.get(well) for well in values])
        axes.add_collection(collection)
        axes.set_xlim(0, n_columns)
        axes.set_ylim(n_rows, 0)
        axes.set_aspect("equal")
        every = 1 if cell >= 0.2 else 2
        axes.set_xticks(
            [n + 0.5 for n in range(0, n_columns, every)],
            [str(n + 1) for n in range(0, n_columns, every)],
        )
        axes.set_yticks(
            [n + 0.5 for n in range(n_rows)], [row_name(n) for n in range(n_rows)]
        )
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        bar = figure.colorbar(
            collection,
            ax=axes,
            orientation="horizontal",
            fraction=0.06,
            pad=0.04,
            aspect=30,
            shrink=0.9,
        )
        bar.outline.set_edgecolor(FAINT)  # type: ignore[operator]
        bar.locator = MaxNLocator(4)
        bar.update_ticks()
        bar.set_label(label)
        said = f"{label} of {len(known)} wells, from {short(low)} to {short(high)}"
        titles = {
            links[well]: f"{well}: {short(value) if np.isfinite(value) else 'none'}"
            for well, value in values.items()
            if well in links
        }
        return as_svg(figure, f"Map of the plate: {said}", titles)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with axes; without pyplot, which would keep it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def as_svg(figure: Figure, alt: str, titles: Mapping[str, str] | None = None) -> str:
    """The figure as an element of the page, with names of its own.

    Args:
        figure: What to write.
        alt: What it shows.
        titles: What to say about a link, by its target.
    """
    file = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    _, _, text = file.getvalue().partition("<svg ")
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", text)
    # Other plots of the page have the same names.
    used = {
        *re.findall(r"url\(#([^)]+)\)", text),
        *re.findall(r'xlink:href="#([^"]+)"', text),
    }
    links = {url.removeprefix("#") for url in titles or {}}
    prefix = f"p{next(numbers)}"
    text = re.sub(
        r' id="([^"]+)"',
        lambda m: f' id="{prefix}{m[1]}"' if m[1] in used - links else "",
        text,
    )
    text = re.sub(
        r'(xlink:)?href="#([^"]+)"',
        lambda m: f'href="#{m[2] if m[2] in links else prefix + m[2]}"',
        text,
    )
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", text)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    for url, title in (titles or {}).items():
        start = f'<a href="{url}">'
        label = f"{start}<title>{html.escape(title)}</title>"
        text = text.replace(start, label)
    width, height = (size * 96 for size in figure.get_size_inches())
    sized = re.sub(
        r'^(.*?)width="[^"]*"',
        rf'\1width="{width:.0f}"',
        text,
        count=1,
        flags=re.DOTALL,
    )
    sized = re.sub(
        r'^([^>]*?)height="[^"]*"', rf'\1height="{height:.0f}"', sized, count=1
    )
    return f'<svg role="img" aria-label="{html.escape(alt)}" {sized}'


def well_place(well: str) -> tuple[int, int]:
    """Row and column of a well, counted from 0.

    Raises:
        ValueError: Its name is not made of letters and a number.
    """
    match = re.fullmatch(r"([A-Za-z]+)0*([0-9]+)", well)
    if not match or not int(match[2]):
        raise ValueError(f"the well {well!r} has no place on a map")
    row = 0
    for letter in match[1].upper():
        row = row * 26 + ord(letter) - ord("A") + 1
    return row - 1, int(match[2]) - 1


def row_name(row: int) -> str:
    """Letters of a row: A to Z, then AA."""
    row += 1
    name = ""
    while row:
        row, rest = divmod(row - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def short(value: Any) -> str:
    """A number in few digits."""
    return f"{value:.4g}"


def by_group(names: Sequence[str], values: Array) -> dict[str, Array]:
    """Values by group, in the order of the groups' names."""
    keys = np.asarray(names)
    return {str(name): values[keys == name] for name in np.unique(keys)}
