"""Metadata of images and plates: they agree with each other and with the files, or are rejected."""

import pytest
from my_fractal_tasks.kit.ngff import inside

LEAVES = [
    "..",
    "../x",
    "a/../../x",
    "/etc",
    "",
    ".",
    "a\\..\\b",
    "a\0",
]


@pytest.mark.parametrize("name", [*LEAVES, None, 1, ["0"]])
def test_a_path_in_metadata_stays_in_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match=r"zarr_url: .* lies outside"):
        inside(tmp_path, name, argument="zarr_url")


@pytest.mark.parametrize("links", [False, True])
def test_a_link_leads_out_of_a_folder_only_to_a_whole_image(tmp_path, links):
    (tmp_path / "image").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "image" / "0").symlink_to(tmp_path / "other")
    (tmp_path / "image" / "1").symlink_to(tmp_path / "image")
    assert (
        inside(tmp_path / "image", "1", argument="zarr_url") == tmp_path / "image" / "1"
    )
    if links:
        assert inside(tmp_path / "image", "0", argument="zarr_url", links=True).exists()
    else:
        with pytest.raises(ValueError, match=r"zarr_url: .* is a link out of"):
            inside(tmp_path / "image", "0", argument="zarr_url")
