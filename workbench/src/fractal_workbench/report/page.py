"""The page of a run: what it did, what that looks like, and what it cost.

One HTML file that needs no network and no JavaScript, to be sent to a colleague. It stands
on Jinja2 for the page (what it shows is escaped), matplotlib for plots and Pillow for
pictures: `plots` and `pictures` say why. The kit reads the images.

Nothing in here makes a run fail: what cannot be shown becomes a sentence in its place.
"""

import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..engine.history import StepDone
from ..engine.rules import Image
from . import plots
from .comparison import Figure, compare
from .conditions import Conditions
from .measurements import (
    Position,
    TableGroup,
    TableState,
    find_positions,
    measure,
    read_states,
)
from .pick_images import Sample, place_name
from .plate import FeatureFigure, Sheet, make_sheets, measured_figures
from .report_tables import arguments, duration, image_table, logs, unit_rows, value
from .views import Taken, first_line, short_name, try_view

MANY_UNITS = 12  # from which on their costs are plotted
SECONDS = 45.0  # for the page in all, but for what has to be
MAX_TABLES = 1000  # images whose tables are looked at


@dataclass
class Section:
    """A section of the page, about a step.

    Attributes:
        done: The step.
        changed: Images that are new, or whose entry has changed.
        figures: Pictures.
        tables: Tables that the step has written, with their plots.
        costs: Plots of costs.
        remarks: Sentences about what could not be shown.
    """

    done: StepDone
    changed: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[tuple[TableGroup, list[FeatureFigure]]] = field(default_factory=list)
    costs: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class Report:
    """Collects the steps of a run, and writes them as a page.

    Args:
        title: Name of the workflow.
        zarr_dir: Folder of the dataset.
        images: The image list to begin with.
        plan: What the workflow is going to do, in lines.
    """

    def __init__(
        self, title: str, zarr_dir: Path, images: list[Image], plan: list[str]
    ) -> None:
        self.title, self.zarr_dir, self.plan = title, Path(zarr_dir), plan
        self.sections: list[Section] = []
        self.seconds = 0.0  # that the page itself took
        self._sample = Sample()
        self._views: dict[str, Taken] = {}
        self._tables: dict[Path, TableState] = {}
        self._positions: dict[str, Position | None] = {}
        self._conditions = Conditions()
        self._images: list[Image] = []
        self._remarks: list[str] = []
        self._safely(
            self._remarks, "The images to begin with", lambda: self._begin(images)
        )

    def add(self, done: StepDone) -> None:
        """Add a step that has just ended: later ones may overwrite its images."""
        section = Section(done)
        self.sections.append(section)
        self._images = done.after
        self._safely(section.remarks, "The images", lambda: self._look(section))
        self._safely(section.remarks, "The tables", lambda: self._measure(section))
        self._safely(section.remarks, "The costs", lambda: self._plot_costs(section))

    def write(self, file: Path) -> None:
        """Write the page, or print on the standard error why that fails."""
        sheets: list[Sheet] = []
        remarks = [*self._remarks]
        self._safely(
            remarks,
            "The plates",
            lambda: sheets.extend(
                make_sheets(
                    self._images, self._positions, self.zarr_dir, self._time_left(20)
                )
            ),
        )
        try:
            text = without_dead_links(self._render(sheets, remarks))
            partial = file.with_name(f".{file.name}.partial")
            partial.write_text(text, encoding="utf-8")
            partial.replace(file)
        except Exception as error:
            print(f"The page {file} cannot be written: {error}", file=sys.stderr)

    def _safely(self, remarks: list[str], what: str, act: Callable[[], None]) -> None:
        """Call a function; an error becomes a remark."""
        start = time.monotonic()
        try:
            act()
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            remarks.append(f"{what} cannot be shown: {reason}")
        self.seconds += time.monotonic() - start

    def _time_left(self, most: float) -> float:
        """Seconds for work that can be cut short, between two limits."""
        return min(most, max(SECONDS - self.seconds, 2.0))

    def _begin(self, images: list[Image]) -> None:
        empty: Image = {"origin": None, "attributes": {}, "types": {}}
        images = self._images = [empty | image for image in images]
        self._learn(images)
        for url in self._sample.pick(image["zarr_url"] for image in images):
            self._views[url] = try_view(url)
        self._tables = read_states(self._holders(images))

    def _learn(self, images: Sequence[Image]) -> None:
        """Find the positions of images, and choose places to show."""
        self._positions |= find_positions(images, self._positions)
        self._sample.learn(images, {u for u, found in self._positions.items() if found})

    def _where(self, folder: Path) -> Position | None:
        """The position of an image with tables; None for a plate."""
        return self._positions.get(str(folder))

    def _holders(self, images: Sequence[Image]) -> list[Path]:
        """Folders that may have tables: images, and their plates."""
        plates = {found.plate: None for found in self._positions.values() if found}
        paths = [Path(image["zarr_url"]) for image in images[:MAX_TABLES]]
        return [*plates][:MAX_TABLES] + paths

    def _look(self, section: Section) -> None:
        """Add pictures of the changes by a step."""
        done = section.done
        entries = {image["zarr_url"]: image for image in done.before}
        section.changed = [
            image["zarr_url"]
            for image in done.after
            if entries.get(image["zarr_url"]) != image
        ]
        self._learn(done.after)
        # What is new first: there may be more than are looked at.
        touched = dict.fromkeys([*section.changed, *done.inputs])
        left = {image["zarr_url"]: image for image in done.after}
        picked = self._sample.pick(url for url in touched if url in left)
        # What a failed step leaves half done is not listed, and not looked at.
        before = {**self._views}
        for url in picked:
            self._views[url] = try_view(url)
        for url in [*self._views]:
            if url not in left:
                del self._views[url]
        section.figures = compare(
            [left[url] for url in picked],
            before,
            self._views,
            self._sample,
            {u: found.acquisition for u, found in self._positions.items() if found},
            self.zarr_dir,
        )

    def _measure(self, section: Section) -> None:
        """Plot the tables that a step has written."""
        now = read_states(self._holders(section.done.after))
        new = [
            table for table, state in now.items() if self._tables.get(table) != state
        ]
        self._tables = now
        conditions = self._conditions.read(now, self._where)
        if (total := len(section.done.after)) > MAX_TABLES and new:
            section.remarks.append(
                f"Tables are of the first {MAX_TABLES} of {total} images."
            )
        for group in measure(new, self._where, self._time_left(10)):
            section.tables.append((group, measured_figures(group, conditions)))

    def _plot_costs(self, section: Section) -> None:
        """Plot the costs of units."""
        costs = [unit.cost for unit in section.done.units if unit.cost]
        for name, unit, values in (
            ("time", "s", [cost.seconds for cost in costs]),
            ("peak memory", "MB", [cost.memory for cost in costs if cost.memory]),
        ):
            if len(values) >= MANY_UNITS and max(values) > 1.3 * min(values):
                label = f"{name} of a unit ({unit})"
                section.costs.append(
                    plots.histogram(np.array(values), label, from_zero=True)
                )

    def _render(self, sheets: list[Sheet], remarks: list[str]) -> str:
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"duration": duration, "value": value}
        places = [place_name(place) for place in self._sample.places]
        return environment.get_template("report.html").render(
            title=self.title,
            zarr_dir=self.zarr_dir,
            plan=self.plan,
            sections=self.sections,
            sheets=sheets,
            remarks=remarks,
            images=self._images,
            n_places=self._sample.total,
            places=places,
            now=datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z"),
            arguments=arguments,
            table_of=lambda images, marked: image_table(images, marked, self.zarr_dir),
            unit_rows=unit_rows,
            logs=logs,
            name=lambda url: short_name(url, self.zarr_dir),
        )


def without_dead_links(page: str) -> str:
    """Remove links to wells without a picture, such as of removed images."""
    places = {*re.findall(r' id="(well-[^"]+)"', page)}
    links = re.compile(r' (?:xlink:)?href="#(well-[^"]+)"')
    return links.sub(lambda link: link[0] if link[1] in places else "", page)
