"""The page of a run: what it did, what that looks like, and what it cost.

One HTML file that needs no network, to be sent to a colleague. Without JavaScript, only the
copy buttons are missing. It stands on Jinja2 for the page (what it shows is escaped),
matplotlib for plots and Pillow for pictures: `plots` and `pictures` say why. The kit reads
the images.

Nothing in here makes a run fail: what cannot be shown becomes a sentence in its place.
"""

import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..engine.history import StepDone
from ..engine.rules import Image, Planned, Step, count_of
from ..engine.subset import describe_copy
from . import plots
from .comparison import Budget, Figure, compare
from .conditions import Conditions
from .measurements import (
    Position,
    TableGroup,
    TableState,
    find_positions,
    measure,
    natural,
    read_states,
)
from .pick_images import Sample
from .pictures import Picture, thumbnail
from .plate import (
    MIN_CONTROLS,
    FeatureFigure,
    Sheet,
    make_sheets,
    measured_figures,
    small_table,
)
from .records import Records
from .report_tables import (
    Logs,
    arguments,
    as_json,
    cost_rows,
    duration,
    failed_jobs,
    image_table,
    read_logs,
    status_of,
    step_name,
    value,
)
from .reproduce import plate_tables, reproduce
from .svg import visible
from .table_units import find_units
from .views import Taken, View, first_line, short_name, try_view

MANY_UNITS = 12  # from which on their costs are plotted
SECONDS = 45.0  # of the processor, for the page in all, but for what has to be
MAX_BYTES = 9e6  # of pictures of steps, so that a large plate stays below 20 MB
MAX_TABLES = 1000  # images whose tables are looked at


@dataclass
class Column:
    """A column of the table of wells: the images to begin with, or the results of a step.

    Attributes:
        anchor: Section of the page.
        title: Number and name of the step.
        cells: By place and acquisition, a small picture, and its place on the page.
    """

    anchor: str
    title: str
    cells: dict[tuple[str, str], tuple[Picture, str]] = field(default_factory=dict)


@dataclass
class Section:
    """A section of the page, about a step.

    Attributes:
        done: The step.
        changed: Images that are new, or whose entry has changed.
        removed: Images that the step removed from the list.
        figures: Pictures.
        tables: Tables that the step has written, with their plots.
        logs: Logs of successful jobs, and messages in them.
        costs: Plots of costs.
        remarks: Sentences about what could not be shown.
    """

    done: StepDone
    changed: list[str] = field(default_factory=list)
    removed: list[Image] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[tuple[TableGroup, list[FeatureFigure]]] = field(default_factory=list)
    logs: Logs = field(default_factory=lambda: Logs([], 0, [], 0))
    costs: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class Report:
    """Collects the steps of a run, and writes them as a page.

    Args:
        title: Name of the workflow.
        zarr_dir: Folder of the dataset.
        images: The image list to begin with.
        plan: What the workflow is going to do, in lines.
        workflow: The workflow, as Fractal exports it.
        options: Further options of the command line that ran it.
        view: Beginning of the URLs of a viewer, which the path of an image completes.
        later: Folders of the first images that an earlier run has made.
        steps: The steps of the workflow, with their tasks.
        start: When the run began, by `time.time_ns`: what is older is of no step, but for
            what a record says.
    """

    def __init__(
        self,
        title: str,
        zarr_dir: Path,
        images: list[Image],
        plan: list[str],
        workflow: Mapping[str, Any] | None = None,
        options: Sequence[str] = (),
        view: str = "",
        later: frozenset[str] = frozenset(),
        steps: Sequence[Planned] = (),
        start: int = 0,
    ) -> None:
        self.title, self.zarr_dir, self.plan = title, Path(zarr_dir), plan
        self.workflow, self.options = workflow, options
        self.start, self.view = images, view
        self.sections: list[Section] = []
        # Of the processor: pictures do not depend on what else the machine does.
        self.seconds = 0.0
        self._later = later  # folders that are not shown yet
        self._reused: frozenset[str] = frozenset()  # of this step, by an earlier run
        self._records = Records(steps, start)
        self._sample = Sample()
        self._views: dict[str, Taken] = {}
        # Middle of the piece at full resolution, by place: all steps show the same one.
        self._focus: dict[str, tuple[float, float]] = {}
        self._columns: list[Column] = []
        self._bytes = 0  # of pictures of steps
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
        self._reused = self._later - done.later
        self._images, self._later = done.after, done.later
        self._safely(section.remarks, "The images", lambda: self._look(section))
        self._safely(section.remarks, "The tables", lambda: self._measure(section))
        self._safely(section.remarks, "The logs", lambda: self._read_logs(section))
        self._safely(section.remarks, "The costs", lambda: self._plot_costs(section))

    def write(self, file: Path) -> bool:
        """Write the page, or print on the standard error why that fails.

        Returns:
            Whether it was written.
        """
        sheets: list[Sheet] = []
        remarks = [*self._remarks]
        self._safely(
            remarks,
            "The plates",
            lambda: sheets.extend(
                make_sheets(
                    self._images,
                    self._positions,
                    self._links(),
                    self.zarr_dir,
                    self._time_left(20),
                )
            ),
        )
        try:
            text = visible(without_dead_links(self._render(sheets, remarks)))
            partial = file.with_name(f".{file.name}.partial")
            partial.write_text(text, encoding="utf-8")
            partial.replace(file)
        except Exception as error:
            print(f"The page {file} cannot be written: {error}", file=sys.stderr)
            return False
        return True

    def _safely(self, remarks: list[str], what: str, act: Callable[[], None]) -> None:
        """Call a function; an error becomes a remark."""
        start = time.process_time()
        try:
            act()
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            remarks.append(f"{what} cannot be shown: {reason}")
        self.seconds += time.process_time() - start

    def _time_left(self, most: float) -> float:
        """Seconds for work that can be cut short, between two limits."""
        return min(most, max(SECONDS - self.seconds, 2.0))

    def _begin(self, images: list[Image]) -> None:
        empty: Image = {"origin": None, "attributes": {}, "types": {}}
        images = self._images = [empty | image for image in images]
        self._learn(images)
        picked = self._sample.pick(image["zarr_url"] for image in images)
        start = Column("start", "Start")
        for url in picked:
            self._view(url)
            view = self._views[url]
            if isinstance(view, View):
                name = short_name(url, self.zarr_dir)
                thumb = thumbnail(view, None, view.channels[0], name)
                start.cells.setdefault(self._row(url), (thumb, ""))
        if start.cells:
            self._columns.append(start)
        self._tables = read_states(self._holders(images), self._is_later)

    def _learn(self, images: Sequence[Image]) -> None:
        """Find the positions of images, and choose places to show."""
        self._positions |= find_positions(images, self._positions)
        self._sample.learn(
            images, {u for u, position in self._positions.items() if position}
        )

    def _view(self, url: str) -> None:
        """Look at an image, at full resolution where the first one of its place did."""
        place = self._sample.place(url)
        view = try_view(url, self._focus.get(place), self._is_later)
        self._views[url] = view
        if not isinstance(view, View):
            return
        marks = view.marks.keys() - {"pixels"}
        view.old = {mark for mark in marks if self._is_old(view.folder_of(mark))}
        if view.channels[0].sharp:
            top, left, bottom, right = view.channels[0].sharp.place
            self._focus.setdefault(place, ((top + bottom) / 2, (left + right) / 2))

    def _is_later(self, folder: Path) -> bool:
        """Return whether a label or table is of a later step, and not shown yet."""
        step = self._records.step_of(folder) or 0
        return str(folder) in self._later or step > len(self.sections)

    def _is_old(self, folder: Path) -> bool:
        """Return whether a label or table was there before, and not of this step."""
        if str(folder) in self._reused:
            return False
        is_own = self._records.step_of(folder) == len(self.sections)
        return not is_own and self._records.is_older(folder)

    def _row(self, url: str) -> tuple[str, str]:
        """Place and acquisition of an image: a row of the table of wells."""
        position = self._positions.get(url)
        return self._sample.place(url), position.acquisition if position else ""

    def _where(self, folder: Path) -> Position | None:
        """The position of an image with tables; None for a plate."""
        return self._positions.get(str(folder))

    def _holders(self, images: Sequence[Image]) -> list[Path]:
        """Folders that may have tables: images, and their plates."""
        plates = {
            position.plate: None for position in self._positions.values() if position
        }
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
        left = {image["zarr_url"] for image in done.after}
        section.removed = [i for url, i in entries.items() if url not in left]
        self._learn(done.after)
        # What is new first: there may be more than are looked at.
        touched = dict.fromkeys([*section.changed, *done.inputs])
        picked = self._sample.pick(url for url in touched if url in left)
        # What a failed step leaves half done is not listed, and not looked at.
        before = {**self._views}
        for url in picked:
            self._view(url)
        for url in [*self._views]:
            if url not in left:
                del self._views[url]
        # A step may take twice its part of what is left.
        part = 2 / (max(done.total - done.number, 0) + 2)
        budget = Budget(
            time.process_time() + max(SECONDS - self.seconds, 2.0) * part,
            max(MAX_BYTES - self._bytes, 0) * part,
        )
        section.figures = compare(
            done,
            picked,
            before,
            self._views,
            self._sample,
            {
                u: position.acquisition
                for u, position in self._positions.items()
                if position
            },
            self.zarr_dir,
            budget,
        )
        self._bytes += budget.used
        title = f"{done.number}. {step_name(done)}"
        column = Column(f"step-{done.number}", title)
        for number, figure in enumerate(section.figures, 1):
            if figure.thumb and figure.url:
                anchor = f"step-{done.number}-picture-{number}"
                column.cells.setdefault(self._row(figure.url), (figure.thumb, anchor))
        if column.cells:
            self._columns.append(column)

    def _measure(self, section: Section) -> None:
        """Plot the tables that a step has written."""
        now = read_states(self._holders(section.done.after), self._is_later)
        new = [
            table
            for table, state in now.items()
            if self._tables.get(table) != state
            and (table in self._tables or not self._is_old(table))
        ]
        self._tables = now
        conditions = self._conditions.read(now, self._where)
        if (total := len(section.done.after)) > MAX_TABLES and new:
            section.remarks.append(
                f"Tables are of the first {MAX_TABLES} of {total} images."
            )
        left_out = self._conditions.columns
        for group in measure(new, self._where, self._time_left(10), left_out):
            self._find_units(group)
            controls = {condition.control for condition in conditions.values()}
            wells = {*group.wells.tolist()} - {""}
            shown = any(g.needs_control for s in self.sections for g, _ in s.tables)
            # Once on the page, and where there can be enough controls.
            enough = len(wells) >= 2 * MIN_CONTROLS
            group.needs_control = controls == {""} and enough and not shown
            full = self.seconds < SECONDS
            figures = measured_figures(group, conditions, full=full)
            section.tables.append((group, figures))

    def _find_units(self, group: TableGroup) -> None:
        """Find the units of the columns of tables, by their images."""
        if group.of == "plates":  # their columns are summaries of those of images
            for name in group.features:
                column = re.sub(r"_(mean|median|min|max|std)$", "", name)
                units = {
                    earlier.units.get(column, "")
                    for section in self.sections
                    for earlier, _ in section.tables
                    if earlier.of == "images" and column in earlier.features
                }
                if len(units) == 1 and (unit := units.pop()):
                    group.units[name] = unit
            return
        known = {
            Path(url): view.objects
            for url, view in self._views.items()
            if isinstance(view, View)
        }
        units_of = find_units(group.name, group.holders, known, self._time_left(5))
        for name in group.features:
            of_column = units_of.get(name, [])
            if len(of_column) == 1 and of_column[0]:
                group.units[name] = of_column[0]
            elif len(named := [unit for unit in of_column if unit]) > 1:
                group.remarks.append(
                    f"{name} is in {' and in '.join(named)}, in different images: do not "
                    "compare these."
                )

    def _read_logs(self, section: Section) -> None:
        """Find the messages of jobs."""
        section.logs = read_logs(section.done)

    def _plot_costs(self, section: Section) -> None:
        """Plot the costs of units."""
        costs = [unit.cost for unit in section.done.units if unit.cost]
        for name, unit, values in (
            ("time", "s", [cost.seconds for cost in costs]),
            ("peak memory", "MB", [cost.memory for cost in costs if cost.memory]),
        ):
            if len(values) >= MANY_UNITS and max(values) > 1.3 * min(values):
                label = f"{name} of a job ({unit})"
                section.costs.append(
                    plots.histogram(np.array(values), label, from_zero=True)
                )

    def _links(self) -> dict[str, str]:
        """Place on the page of the last pictures of the well of each image."""
        last: dict[tuple[str, str], str] = {}
        for column in self._columns:
            last |= {key: anchor for key, (_, anchor) in column.cells.items() if anchor}
        urls = [image["zarr_url"] for image in self._images]
        return {url: last[row] for url in urls if (row := self._row(url)) in last}

    def _view_url(self, url: str) -> str:
        """URL of an image in a viewer; empty if there is none."""
        path = Path(url)
        if not self.view.startswith(("https://", "http://")):
            return ""
        if not path.is_relative_to(self.zarr_dir):
            return ""
        return self.view + quote(path.relative_to(self.zarr_dir).as_posix())

    def _well_rows(self) -> list[tuple[str, tuple[str, str]]]:
        """Name and key of each row of the table of wells."""
        keys = dict.fromkeys(key for column in self._columns for key in column.cells)
        several = len({acquisition for _, acquisition in keys}) > 1
        names = [
            self._sample.name(place)
            + (f", acquisition {acquisition}" if several and acquisition else "")
            for place, acquisition in keys
        ]
        return sorted(zip(names, keys, strict=True), key=lambda row: natural([row[0]]))

    def _left(self) -> list[tuple[int, str, Step]]:
        """Number and name of each step that did not run."""
        steps = (self.workflow or {}).get("task_list") or []
        left = []
        for number, given in [*enumerate(steps, 1)][len(self.sections) :]:
            step = Step.model_validate(given)
            left.append((number, step.alias or step.task.name, step))
        return left

    def _render(self, sheets: list[Sheet], remarks: list[str]) -> str:
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"duration": duration, "value": value}
        environment.filters["quoted"] = shlex.quote
        places = [self._sample.name(place) for place in self._sample.places]
        here = (self._positions.get(image["zarr_url"]) for image in self._images)
        positions = {position for position in here if position}
        left = self._left()
        return environment.get_template("report.html").render(
            title=self.title,
            status=status_of(
                [section.done for section in self.sections],
                [f"{number}. {name}" for number, name, _ in left],
                {s.done.number for s in self.sections if s.logs.messages},
            ),
            left=left,
            columns=self._columns,
            well_rows=self._well_rows(),
            reproduction=reproduce(
                [section.done for section in self.sections],
                self.workflow,
                self.start,
                self.zarr_dir,
                self.options,
            ),
            tables=plate_tables({Path(spot.plate) for spot in positions}),
            step_name=step_name,
            n_wells=len({spot[:2] for spot in positions}),
            n_plates=len({spot.plate for spot in positions}),
            description=(self.workflow or {}).get("description") or "",
            tried=describe_copy(self.zarr_dir),
            zarr_dir=self.zarr_dir,
            plan=self.plan,
            sections=self.sections,
            sheets=sheets,
            remarks=remarks,
            images=self._images,
            n_places=self._sample.total,
            kind_of_places=self._sample.kind,
            n_outside=sum(
                self._positions.get(image["zarr_url"]) is None for image in self._images
            ),
            places=places,
            now=datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z"),
            arguments=arguments,
            count_of=count_of,
            table_of=lambda images, marked: image_table(images, marked, self.zarr_dir),
            cost_rows=cost_rows([section.done for section in self.sections]),
            as_json=as_json,
            failed_jobs=failed_jobs,
            small_table=small_table,
            view_url=self._view_url,
        )


def without_dead_links(page: str) -> str:
    """Remove links to wells without a picture, such as of removed images."""
    places = {*re.findall(r' id="(well-[^"]+)"', page)}
    links = re.compile(r' (?:xlink:)?href="#(well-[^"]+)"')
    return links.sub(lambda link: link[0] if link[1] in places else "", page)
