"""Plots for the page: distributions, groups, maps of plates.

matplotlib draws them: its artists can carry links, and its text can stay text. `svg` makes
them a part of the page.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ..engine.rules import count_of
from .measurements import natural
from .pixels import Array
from .svg import FAINT, INK, MARK, SOFT, as_svg, visible

# Of any type: how keys are typed differs between versions of matplotlib.
STYLE: Any = {
    "svg.fonttype": "none",
    "axes.formatter.useoffset": False,
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
FEW = 5  # values, of which a box would say too much
WELL = re.compile(r"([A-Za-z]{1,2})0*([1-9][0-9]{0,2})")
WIDTH = 3.1  # inches of 96 pixels: two or three plots stand side by side
LETTERS = 44  # of a line that is as wide


class Link(NamedTuple):
    """The target of a click on a well, and a text about the well."""

    url: str
    text: str


def histogram(values: Array, label: str, *, from_zero: bool = False) -> str:
    """A histogram of values.

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
        axes.set_xlabel("\n".join(lines_of(label, LETTERS)), loc="right")
        axes.set_ylabel("count")
        missing = (
            f", {len(values) - len(known)} missing" if len(known) < len(values) else ""
        )
        middle = f"median {short(np.median(known))}, " if len(known) else ""
        alt = f"Histogram of {label}: {middle}{count_of(len(known), 'value')}{missing}"
        return as_svg(figure, alt)


def boxes(groups: Mapping[str, Array], label: str, of: str) -> str:
    """Values of each group: a box of the middle half, the median, and the values.

    Args:
        groups: Numbers by the name of the group.
        label: What they are, with the unit.
        of: What the groups are.
    """
    known = {name: v[np.isfinite(v)] for name, v in groups.items()}
    known = {name: v for name, v in known.items() if len(v)}
    sizes = {len(v) for v in known.values()}
    names = [
        cut(n) if len(sizes) == 1 else f"{cut(n)} ({len(known[n])})" for n in known
    ]
    with mpl.rc_context(STYLE):
        longest = max(map(len, names)) * 0.06
        figure, axes = new_figure(
            WIDTH + float(np.clip(longest - 0.9, 0, 1.5)), 0.95 + 0.22 * len(known)
        )
        line = {"color": MARK, "linewidth": 1}
        axes.boxplot(
            # Of a few values, only these are shown.
            [values if len(values) >= FEW else [] for values in known.values()],
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
            sample = values if len(values) <= 60 else random.choice(values, 60)
            if len(values) < FEW:
                axes.plot(
                    sample, [row] * len(sample), "o", color=INK, markersize=4, mew=0
                )
            else:
                heights = row + random.uniform(-0.2, 0.2, len(sample))
                axes.plot(
                    sample, heights, "o", color=INK, markersize=1.8, alpha=0.4, mew=0
                )
        axes.set_yticks(range(1, len(known) + 1), names)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        every = np.concatenate([*known.values()])
        integers = bool((every == np.round(every)).all())
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=integers))
        axes.set_xlabel("\n".join(lines_of(label, LETTERS)), loc="right")
        axes.set_title(f"by {of}", loc="left")
        medians = ", ".join(f"{n} {short(np.median(v))}" for n, v in known.items())
        return as_svg(figure, f"{label} by {of}, medians: {medians}")


def plate_map(
    values: Mapping[str, float], label: str, links: Mapping[str, Link]
) -> str:
    """A plate, each well coloured by a value.

    Args:
        values: One by well, such as `B03`; NaN for none.
        label: What they are, with the unit.
        links: Those of the wells.
    """
    places = {well: well_place(well) for well in values}
    n_rows = max(row for row, _ in places.values()) + 1
    n_columns = max(column for _, column in places.values()) + 1
    known = np.array([v for v in values.values() if np.isfinite(v)])
    low, high = known.min(), known.max()
    with mpl.rc_context(STYLE | {"xtick.labelsize": 7, "ytick.labelsize": 7}):
        cell = float(np.clip(4 / max(n_columns, n_rows), 0.165, 0.45))
        width, height = cell * n_columns, cell * n_rows
        lines = lines_of(label, max(round(max(width + 0.4, 2.2) * 15), 20))
        low_edge = 0.12 * max(len(lines) - 1, 0)
        total = max(width + 0.4, 2.2), height + 0.85 + low_edge
        figure = Figure(figsize=total)

        def place(left: float, bottom: float, wide: float, high: float) -> Axes:
            x, y = total
            return figure.add_axes((left / x, bottom / y, wide / x, high / y))

        axes = place(0.3, 0.6 + low_edge, width, height)
        collection = PatchCollection(
            [Rectangle((c + 0.05, r + 0.05), 0.9, 0.9) for r, c in places.values()],
            cmap=mpl.colormaps["viridis"].with_extremes(bad="none"),
            norm=mpl.colors.Normalize(low, high),
            edgecolor=FAINT,
            linewidth=0.6,
        )
        collection.set_array(np.ma.masked_invalid([*values.values()]))
        collection.set_urls([links[w].url if w in links else None for w in values])
        axes.add_collection(collection)
        axes.set_xlim(0, n_columns)
        axes.set_ylim(n_rows, 0)
        columns = range(0, n_columns, 1 if cell >= 0.2 else 2)
        axes.set_xticks([n + 0.5 for n in columns], [str(n + 1) for n in columns])
        axes.set_yticks(
            [n + 0.5 for n in range(n_rows)], [row_name(n) for n in range(n_rows)]
        )
        axes.xaxis.tick_top()
        axes.tick_params(length=0, pad=1)
        for spine in axes.spines.values():
            spine.set_visible(False)
        bar = figure.colorbar(
            collection,
            cax=place(0.3, 0.45 + low_edge, total[0] - 0.5, 0.09),
            orientation="horizontal",
            ticks=MaxNLocator(4),
        )
        bar.outline.set_visible(False)
        bar.set_label("\n".join(lines))
        wells = count_of(len(known), "well")
        title = f"{label} of {wells}, from {short(low)} to {short(high)}"
        titles = {}
        for well, link in links.items():
            value = short(values[well]) if np.isfinite(values[well]) else "none"
            titles[link.url] = ", ".join(filter(None, [f"{well}: {value}", link.text]))
        return as_svg(figure, f"Map of the plate: {title}", titles)


def lines_of(label: str, letters: int) -> list[str]:
    """Lines of a label; a number stays with its acquisition, and a unit is in one line."""
    joined = re.sub(
        r"(?<=acquisition) (?=\d)|(?<=\(grey) (?=values\))", "\u00a0", label
    )
    return textwrap.wrap(joined, letters, break_on_hyphens=False)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with axes; without pyplot, which would keep it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def well_place(well: str) -> tuple[int, int]:
    """Row and column of a well, counted from 0.

    Raises:
        ValueError: Its name is not made of letters and a number.
    """
    match = WELL.fullmatch(well)
    if not match:
        raise ValueError(f"the well {well!r} has no place on a map")
    row = 0
    for letter in match[1].upper():
        row = row * 26 + ord(letter) - ord("A") + 1
    return row - 1, int(match[2]) - 1


def has_place(well: str) -> bool:
    """Whether the name of a well is made of letters and a number."""
    return bool(WELL.fullmatch(well))


def row_name(row: int) -> str:
    """Letters of a row: A to Z, then AA."""
    row += 1
    name = ""
    while row:
        row, rest = divmod(row - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def cut(name: str) -> str:
    """A name that is not too long, as it is on the page."""
    name = visible(name)
    return name if len(name) <= 32 else f"{name[:31]}…"


def short(value: Any) -> str:
    """A number in few digits."""
    return f"{value:.4g}"


def by_group(names: Sequence[str], values: Array) -> dict[str, Array]:
    """Values by group, in the natural order of the groups' names."""
    keys = np.asarray(names)
    ordered = sorted({*names}, key=lambda name: natural([name]))
    return {name: values[keys == name] for name in ordered}
