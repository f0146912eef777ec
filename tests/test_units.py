"""All units of OME, NGFF and ImageJ are known; those that are not are rejected."""

import pytest
from my_fractal_tasks.kit.units import micrometers, seconds

PREFIXES = dict(
    zip("YZEPTGM", range(24, 0, -3), strict=False),
    k=3,
    h=2,
    da=1,
    d=-1,
    c=-2,
    m=-3,
    µ=-6,
    n=-9,
    p=-12,
    f=-15,
    a=-18,
    z=-21,
    y=-24,
)
LENGTHS = {
    **{f"{prefix}m": 10.0 ** (power + 6) for prefix, power in PREFIXES.items()},
    **{"m": 1e6, "Å": 1e-4, "thou": 25.4, "li": 25400 / 12, "in": 25400},
    **{"ft": 304800, "yd": 914400, "mi": 1609344e3, "ua": 149597870.7e9},
    **{"ly": 9.4607304725808e21, "pc": 3.0856775814913673e22, "pt": 25400 / 72},
}
TIMES = {f"{prefix}s": 10.0**power for prefix, power in PREFIXES.items()}
TIMES |= {"s": 1, "min": 60, "h": 3600, "d": 86400}
NGFF = {
    **{"angstrom": 1e-4, "attometer": 1e-12, "centimeter": 1e4, "decimeter": 1e5},
    **{"exameter": 1e24, "femtometer": 1e-9, "foot": 304800, "gigameter": 1e15},
    **{"hectometer": 1e8, "inch": 25400, "kilometer": 1e9, "megameter": 1e12},
    **{"meter": 1e6, "micrometer": 1, "mile": 1609344e3, "millimeter": 1e3},
    **{"nanometer": 1e-3, "parsec": LENGTHS["pc"], "petameter": 1e21},
    **{"picometer": 1e-6, "terameter": 1e18, "yard": 914400, "yoctometer": 1e-18},
    **{"yottameter": 1e30, "zeptometer": 1e-15, "zettameter": 1e27},
}
OTHERS = {
    **{"\u00b5m": 1, "\u03bcm": 1, r"\u00B5m": 1, r"\u03bcm": 1, "um": 1, " um ": 1},
    **{
        "micron": 1,
        "Microns": 1,
        "micrometre": 1,
        "micrometers": 1,
        "Nanometres": 1e-3,
    },
    **{"inches": 25400, "\u212b": 1e-4, "A\u030a": 1e-4, "\u00c5ngstr\u00f6m": 1e-4},
}


@pytest.mark.parametrize(
    ("unit", "factor"), [*LENGTHS.items(), *NGFF.items(), *OTHERS.items()]
)
def test_a_unit_of_length_is_known(unit, factor):
    assert micrometers(unit) == pytest.approx(factor, rel=1e-9)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        *TIMES.items(),
        *{"second": 1, "seconds": 1, "sec": 1, "msec": 1e-3, "usec": 1e-6}.items(),
        *{"minute": 60, "hours": 3600, "hr": 3600, "day": 86400}.items(),
        *{"millisecond": 1e-3, "yottasecond": 1e24, "centisecond": 1e-2}.items(),
    ],
)
def test_a_unit_of_time_is_known(unit, factor):
    assert seconds(unit) == pytest.approx(factor, rel=1e-9)


@pytest.mark.parametrize("unit", ["pixel", "pixels", "Pixel", "reference frame"])
def test_a_pixel_is_no_length(unit):
    assert micrometers(unit) is None


@pytest.mark.parametrize("unit", ["", "MM", "NM", "Um", "xm", "s", "mmm", "um2", None])
def test_an_unknown_unit_of_length_is_rejected(unit):
    with pytest.raises(ValueError, match="no known unit of length"):
        micrometers(unit)


@pytest.mark.parametrize("unit", ["", "m", "S", "MIN", "H", "frame", "pixel", "um"])
def test_an_unknown_unit_of_time_is_rejected(unit):
    with pytest.raises(ValueError, match="no known unit of time"):
        seconds(unit)


def test_case_of_symbols_counts():
    assert micrometers("Mm") == micrometers("mm") * 1e9
    assert micrometers("Pm") == pytest.approx(micrometers("pm") * 1e27)
    assert seconds("Ms") == pytest.approx(seconds("ms") * 1e9)
