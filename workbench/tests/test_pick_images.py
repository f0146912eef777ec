"""The page of a run shows images of a few places, and of the same ones after each step."""

from fractal_workbench.report.pick_images import Sample, place_names


def images(rows: str) -> list[dict[str, object]]:
    return [
        {"zarr_url": f"/data/plate.zarr/{row}/01/0", "attributes": {"well": f"{row}01"}}
        for row in rows
    ]


def wells(sample: Sample) -> str:
    return "".join(sample.name(f"{place}/0")[-3] for place in sample.places)


def test_places_are_spread_over_a_plate() -> None:
    sample = Sample()
    sample.learn(images("ABCDEFG"))
    assert (wells(sample), sample.total) == ("ADG", 7)


def test_places_stay_the_same_while_images_come_and_go() -> None:
    sample = Sample()
    sample.learn(images("CDE"))
    sample.learn(images("ABCDEFG"))
    assert (wells(sample), sample.total) == ("CDE", 7)
    # One place is gone, and one that is new is shown in its place.
    sample.learn(images("ACEFG"))
    assert wells(sample)[:2] == "CE"
    assert wells(sample)[2] in "AFG"


def test_no_two_places_have_the_same_name() -> None:
    assert place_names(
        [
            "/data/one.zarr/A/01",
            "/data/two.zarr/A/01",
            "/data/two.zarr/B/01",
            "/data/a/image.zarr",
            "/data/b/image.zarr",
            "/data/a/other.zarr",
            "/data/a/c/image.zarr",
            "/data/b/c/image.zarr",
        ]
    ) == {
        "/data/one.zarr/A/01": "A01 of one.zarr",
        "/data/two.zarr/A/01": "A01 of two.zarr",
        "/data/two.zarr/B/01": "B01",
        "/data/a/image.zarr": "image.zarr of a",
        "/data/b/image.zarr": "image.zarr of b",
        "/data/a/other.zarr": "other.zarr",
        "/data/a/c/image.zarr": "image.zarr of a/c",
        "/data/b/c/image.zarr": "image.zarr of b/c",
    }
