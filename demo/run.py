"""Run the worked examples over real micrographs, and make a page of what they did.

The TIFFs are cut from the micrographs that scikit-image ships: a stained tissue and a
retina. Each is a row of the plate, seen in two acquisitions with a known shift, and in
three planes: one in focus between two that are not.
"""

import argparse
import base64
import html
import io
import json
from pathlib import Path

import numpy as np
import tifffile
from my_fractal_tasks.dev.run_workflow import run_workflow
from my_fractal_tasks.kit import open_image, open_label, read_table
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import color, data

SHIFT = (-9, 14)  # of the second acquisition, in y and x
SIZE = 240
PLANES = ((3, 0.6), (0, 1.0), (4, 0.5))  # sigma of the blur, and brightness
PACKAGE = "my-fractal-tasks"


def write_tiffs(folder: Path) -> None:
    """Cut two wells of each micrograph, in two acquisitions; the last well has but one."""
    folder.mkdir(parents=True)
    for row, pixels in (("A", data.immunohistochemistry()), ("B", data.retina())):
        # Absorbed light: what is stained is bright.
        absorbed = 255 - pixels
        for column in (1, 2):
            y, x = 60, 60 + (column - 1) * SIZE // 2
            y, x = (n + (400 if row == "B" else 0) for n in (y, x))
            for acquisition, (dy, dx) in enumerate(((0, 0), SHIFT)):
                if (row, column, acquisition) == ("B", 2, 1):
                    continue
                field = absorbed[y - dy : y - dy + SIZE, x - dx : x - dx + SIZE]
                # Dark, as in fluorescence: registered images have a border of 0.
                background = np.median(field, axis=(0, 1)).astype(np.uint8)
                field = np.maximum(field, background) - background
                for channel, plane in zip(
                    ("red", "green", "blue"), np.moveaxis(field, 2, 0), strict=True
                ):
                    for z, (sigma, brightness) in enumerate(PLANES):
                        pixels_z = gaussian_filter(plane * brightness, sigma)
                        name = f"{row}{column:02}_a{acquisition}_c{channel}_z{z}.tif"
                        tifffile.imwrite(folder / name, pixels_z.astype(np.uint8))


def step(name: str, **arguments: object) -> dict[str, object]:
    """One task of the workflow, in the form of Fractal's export."""
    return {"task": {"pkg_name": PACKAGE, "name": name}, **arguments}


def make_workflow(tiffs: Path) -> dict[str, object]:
    """The workflow: all examples but the import, which needs no conversion."""
    green = {"mode": "label", "identifier": "green"}
    return {
        "name": "Demo",
        "task_list": [
            step(
                "Convert TIFFs to OME-Zarr",
                args_non_parallel={"tiff_dir": str(tiffs), "pixel_size_xy": 0.5},
            ),
            step("Register Acquisitions", args_parallel={"channel": green}),
            step("Project Image"),
            step("Gaussian Blur", args_parallel={"sigma_xy": 2}),
            step(
                "Threshold Segmentation",
                args_parallel={
                    "channel": green,
                    "min_size": 30,
                    "regions": {"roi_table": "FOV_ROI_table"},
                },
            ),
            step("Measure Features"),
            step("Aggregate Tables", args_non_parallel={"rows": "wells"}),
            step("Check Images", args_non_parallel={"read_pixels": True}),
        ],
    }


def picture(pixels: np.ndarray) -> str:
    """An image element with the picture inside."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def stretch(pixels: np.ndarray) -> np.ndarray:
    """Grey values from 0 to 255."""
    low, high = np.percentile(pixels, [1, 99.5])
    return (np.clip((pixels - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)


def write_page(image_list: list[dict], page: Path) -> None:
    """Write a page with each image of the plates, its objects and its measurements."""
    rows = []
    for entry in image_list:
        image = open_image(entry["zarr_url"])
        whole = (slice(None),) * 3
        green = image.read(whole, image.channel_names.index("green")).max(axis=0)
        cells = [
            html.escape("/".join(image.path.parts[-4:])),
            html.escape(json.dumps(entry["attributes"])),
            html.escape(json.dumps(entry["types"])),
            picture(stretch(green)),
        ]
        if "objects" in image.label_names:
            labels = np.asarray(open_label(image, "objects").levels[0])[0]
            overlay = color.label2rgb(labels, stretch(green), alpha=0.4, bg_label=0)
            cells.append(picture((overlay * 255).astype(np.uint8)))
            table = read_table(image, "features").columns
            size = "area" if "area" in table else "volume"  # of one plane
            mean = np.mean(table[size])
            cells.append(f"{len(table[size])} objects, mean {size} {mean:.1f}")
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>image<th>attributes<th>types<th>green<th>objects<th>features</tr>"
    page.write_text(
        '<!doctype html><meta charset="utf-8"><title>Demo</title>'
        "<style>body{font:14px sans-serif}td{padding:4px;vertical-align:top}</style>"
        f"<table>{head}{''.join(rows)}</table>",
        encoding="utf-8",
    )


def main() -> None:
    """Make the TIFFs, run the workflow, write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    write_tiffs(folder / "tiffs")
    workflow = folder / "workflow.json"
    workflow.write_text(json.dumps(make_workflow(folder / "tiffs"), indent=2))
    image_list = run_workflow(workflow, zarr_dir=folder / "zarr")
    write_page(image_list, folder / "index.html")
    plate = folder / "zarr" / "plate_projected.zarr"
    print(f"\nThe plate: {folder / 'zarr' / 'plate.zarr'}")
    print(f"Its projections: {plate}")
    print(f"One row for each well: {plate / 'tables' / 'features' / 'table.csv'}")
    print(f"The workflow, which Fractal's web interface can import: {workflow}")
    print(f"Pictures and measurements: {folder / 'index.html'}")


if __name__ == "__main__":
    main()
