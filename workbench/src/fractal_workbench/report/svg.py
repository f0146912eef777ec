"""A figure of matplotlib as an element of a page, in the colours and the font of the page.

matplotlib knows no themes, so some colours stand for variables of the page's style sheet:
a plot is then right in the light, in the dark and when printed.
"""

import io
import itertools
import re
from collections.abc import Mapping
from xml.etree import ElementTree

from matplotlib.figure import Figure

# Each stands for a colour of the page.
INK, FAINT, MARK, SOFT = "#010203", "#040506", "#070809", "#0a0b0c"
VARIABLES = {INK: "--ink", FAINT: "--faint", MARK: "--mark", SOFT: "--soft"}
HREF = "{http://www.w3.org/1999/xlink}href"
POINT = 96 / 72  # pixels
numbers = itertools.count(1)
# Controls that reverse the text after a name, and so change what the page says.
BIDI = re.compile(r"[\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """A text whose controls of the direction of writing are escaped."""
    return BIDI.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def as_svg(figure: Figure, alt: str, titles: Mapping[str, str] | None = None) -> str:
    """The element.

    Args:
        figure: What to show.
        alt: What it shows, for those who cannot see it.
        titles: What to say about a link to another place of the page, by its target.
    """
    titles = titles or {}
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True)
    root = ElementTree.fromstring(file.getvalue().encode())
    prefix = f"plot{next(numbers)}-"  # other plots have the same names in them
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key, value in [*element.items()]:
            name = key.rpartition("}")[2]
            if key == HREF or "url(#" in value:
                del element.attrib[key]
                element.set(name, value if value in titles else pointed(value, prefix))
            if name == "style":
                element.set(name, styled(element.get(name, "")))
            elif name == "id":
                element.set(name, prefix + value)
        if element.tag == "a" and (title := titles.get(element.get("href", ""))):
            element.attrib.pop("target", None)
            tooltip = ElementTree.Element("title")
            tooltip.text = title
            element.insert(0, tooltip)
    drop_unused(root)
    width, height = (size * 72 * POINT for size in figure.get_size_inches())
    root.attrib |= {"width": f"{width:.0f}", "height": f"{height:.0f}"}
    # Links in it are read, unlike what is in a picture.
    root.attrib |= {"role": "group" if titles else "img", "aria-label": alt}
    return ElementTree.tostring(root, encoding="unicode")


def pointed(value: str, prefix: str) -> str:
    """Renamed references to an element of the plot."""
    return re.sub(r"#(?=[\w.-])", f"#{prefix}", value, count=1)


def styled(style: str) -> str:
    """A style with the colours and the font of the page."""
    for colour, variable in VARIABLES.items():
        style = style.replace(colour, f"var({variable})")
    style = re.sub(r"font-family: [^;]*;? ?", "", style)
    return re.sub(r"font: ([0-9.]+px) [^;]*", r"font-size: \1", style)


def drop_unused(root: ElementTree.Element) -> None:
    """Remove unused names, metadata, and styles that would change the page."""
    used = set()
    for element in root.iter():
        for value in element.attrib.values():
            used.update(re.findall(r"^#(.+)|url\(#([^)]+)\)", value))
    names = {name for pair in used for name in pair}
    for parent in root.iter():
        if parent.get("id") not in names:
            parent.attrib.pop("id", None)
        for child in [*parent]:
            if child.tag in ("metadata", "style"):
                parent.remove(child)
