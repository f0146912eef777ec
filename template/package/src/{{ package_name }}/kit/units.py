"""Units of length and time of OME, NGFF and other writers.

Symbols are as they stand (`Mm` is a million meters, `mm` is not); names may be capital.
"""

import re
import unicodedata
from typing import Any

PREFIXES = {
    **{"Y": ("yotta", 24), "Z": ("zetta", 21), "E": ("exa", 18), "P": ("peta", 15)},
    **{"T": ("tera", 12), "G": ("giga", 9), "M": ("mega", 6), "k": ("kilo", 3)},
    **{"h": ("hecto", 2), "da": ("deca", 1), "": ("", 0), "d": ("deci", -1)},
    **{"c": ("centi", -2), "m": ("milli", -3), "\u03bc": ("micro", -6)},
    **{"u": ("micro", -6), "n": ("nano", -9), "p": ("pico", -12)},
    **{"f": ("femto", -15), "a": ("atto", -18), "z": ("zepto", -21)},
    **{"y": ("yocto", -24)},
}


def _power(exponent: int) -> float:
    """A power of 10, rounded once."""
    return float(f"1e{exponent}")


INCH = 25_400.0
LENGTHS = {prefix + "m": _power(n + 6) for prefix, (_, n) in PREFIXES.items()}
LENGTHS |= {"\u00c5": 1e-4, "thou": INCH / 1000, "li": INCH / 12, "in": INCH}
LENGTHS |= {"ft": 12 * INCH, "yd": 36 * INCH, "mi": 63_360 * INCH, "pt": INCH / 72}
LENGTHS |= {"ua": 149_597_870_700e6, "ly": 9_460_730_472_580_800e6}
LENGTHS |= {"pc": 3.085_677_581_491_367e22}
TIMES = {prefix + "s": _power(n) for prefix, (_, n) in PREFIXES.items()}
TIMES |= {"min": 60.0, "h": 3600.0, "d": 86_400.0}

NAMES_OF_LENGTHS = {
    **dict.fromkeys(("micron", "microns"), 1.0),
    **dict.fromkeys(("angstrom", "angstroms", "\u00e5ngstr\u00f6m"), 1e-4),
    **dict.fromkeys(("inch", "inches"), INCH),
    **dict.fromkeys(("foot", "feet"), 12 * INCH),
    **dict.fromkeys(("yard", "yards"), 36 * INCH),
    **dict.fromkeys(("mile", "miles"), 63_360 * INCH),
    **dict.fromkeys(("parsec", "parsecs"), LENGTHS["pc"]),
}
NAMES_OF_TIMES = {
    **dict.fromkeys(("sec", "secs"), 1.0),
    **dict.fromkeys(("msec", "msecs"), 1e-3),
    **dict.fromkeys(("usec", "\u03bcsec"), 1e-6),
    **dict.fromkeys(("minute", "minutes", "mins"), 60.0),
    **dict.fromkeys(("hour", "hours", "hr", "hrs"), 3600.0),
    **dict.fromkeys(("day", "days"), 86_400.0),
}
for _name, _exponent in [*PREFIXES.values(), ("deka", 1)]:
    for _ending in ("meter", "meters", "metre", "metres"):
        NAMES_OF_LENGTHS[_name + _ending] = _power(_exponent + 6)
    for _ending in ("second", "seconds"):
        NAMES_OF_TIMES[_name + _ending] = _power(_exponent)

NO_LENGTHS = {"pixel", "pixels", "reference frame"}
"""Units of OME and ImageJ that are no lengths."""


def micrometers(unit: Any) -> float | None:
    """Micrometers of a unit of length, such as `nm`, `micrometer` or `inch`.

    Returns:
        The factor; None if it is no length, but a `pixel` or the `reference frame`.

    Raises:
        ValueError: It is not known.
    """
    text = _spelled(unit)
    if text.lower() in NO_LENGTHS:
        return None
    factor = LENGTHS.get(text, NAMES_OF_LENGTHS.get(text.lower()))
    if factor is None:
        raise ValueError(
            f"{unit!r} is no known unit of length: write micrometer or nm, for example"
        )
    return factor


def seconds(unit: Any) -> float:
    """Seconds of a unit of time, such as `ms`, `minute` or `h`.

    Raises:
        ValueError: It is not known.
    """
    text = _spelled(unit)
    factor = TIMES.get(text, NAMES_OF_TIMES.get(text.lower()))
    if factor is None:
        raise ValueError(
            f"{unit!r} is no known unit of time: write second or ms, for example"
        )
    return factor


def _spelled(unit: Any) -> str:
    """A unit with one spelling of mu and of A with a ring, and no escapes of ImageJ."""
    text = re.sub(
        r"\\+u([0-9A-Fa-f]{4})", lambda code: chr(int(code[1], 16)), str(unit)
    )
    return unicodedata.normalize("NFKC", text).strip()
