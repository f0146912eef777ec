"""Zarr groups and arrays of NGFF: 0.4 is stored as Zarr 2, 0.5 as Zarr 3."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import zarr
from numpy.typing import DTypeLike
from zarr.codecs import BloscCodec
from zarr.storage import StorePath

from .fractal import CALL
from .publish import Lock, repair, while_locked, whole_version
from .voxels import CheckedStore

NgffVersion = Literal["0.4", "0.5"]
MADE_BY = "made_by"  # attribute that says which step has made an image, label or table
WRITTEN = "written"  # in there, checksum of the names and sizes of its files


def group_version(group: zarr.Group) -> NgffVersion:
    """NGFF version of an image, well or plate."""
    return "0.4" if group.metadata.zarr_format == 2 else "0.5"


def ome_metadata(group: Any) -> dict[str, Any]:
    """OME metadata of a Zarr group, wherever its NGFF version keeps them."""
    attributes = group.attrs.asdict()
    metadata = attributes.get("ome", attributes)
    if not isinstance(metadata, dict):
        raise ValueError(
            f"{group.store_path}: ome is {metadata!r}, and not an object: correct zarr.json"
        )
    return dict(metadata)


def check_version(group: zarr.Group, entry: Mapping[str, Any]) -> None:
    """Reject an image, plate or well whose versions of NGFF and Zarr disagree.

    Args:
        group: Its Zarr group.
        entry: Its `multiscales`, `plate` or `well`, which may have a version of its own.

    Raises:
        ValueError: It is not NGFF 0.4 in Zarr 2, or 0.5 in Zarr 3.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"its metadata are {entry!r}, and not an object")
    expected = group_version(group)
    for version in (ome_metadata(group).get("version"), entry.get("version")):
        if version is not None and str(version) != expected:
            raise ValueError(
                f"it is Zarr {group.metadata.zarr_format}, hence NGFF {expected}, and says "
                f"version {version}; allowed are 0.4 in Zarr 2 and 0.5 in Zarr 3"
            )


def open_group(
    path: Path | str, argument: str = "zarr_url", mode: Literal["r", "r+"] = "r"
) -> zarr.Group:
    """Open the Zarr group of an image, well or plate.

    After a kill, a task finishes what the killed one has begun. Who only reads changes
    nothing, and gets the last whole version.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ValueError: There is something, but no Zarr group.
    """
    return find_group(path, argument, mode)[1]


def find_group(
    path: Path | str, argument: str, mode: Literal["r", "r+"]
) -> tuple[Path, zarr.Group]:
    """Folder of a group, and the group; see `open_group`."""
    path = Path(path)
    if mode == "r" and CALL.get() is None:
        path = whole_version(path)
    else:
        repair(path, argument)
    if not path.exists():
        raise FileNotFoundError(f"{argument}: there is nothing at {path}")
    try:
        return path, _load_group(path, mode)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"{argument}: {path} is not an OME-Zarr image: give the folder with its "
            ".zattrs or zarr.json"
        ) from error


def _load_group(path: Path, mode: Literal["r", "r+"]) -> zarr.Group:
    """Open a group in a tenth of the time that `zarr.open_group` takes.

    That one looks for each file of the metadata in a thread of its own; a task opens many
    groups of a plate. Consolidated metadata are left out: they would hide labels that were
    added after they were written.
    """
    if (path / "zarr.json").exists():
        metadata = json.loads((path / "zarr.json").read_bytes())
        metadata.pop("consolidated_metadata", None)
    else:
        metadata = json.loads((path / ".zgroup").read_bytes())
        with suppress(FileNotFoundError):
            metadata["attributes"] = json.loads((path / ".zattrs").read_bytes())
    store = StorePath(CheckedStore(path, read_only=mode == "r"))
    return zarr.Group(zarr.AsyncGroup.from_dict(store, metadata))


def new_group(path: Path, version: NgffVersion, metadata: dict[str, Any]) -> zarr.Group:
    """Create a group with OME metadata."""
    if version == "0.4":
        return zarr.create_group(path, zarr_format=2, attributes=metadata)
    ome = {"ome": {"version": version, **metadata}}
    return zarr.create_group(path, zarr_format=3, attributes=ome)


def new_array(
    group: zarr.Group,
    name: str,
    *,
    shape: Sequence[int],
    chunks: Sequence[int],
    shards: Sequence[int] | None = None,
    dtype: DTypeLike,
    axes: Iterable[str],
    shuffle: bool = True,
) -> None:
    """Create an array: chunk keys with `/`, names of dimensions.

    Labels, which are long runs of equal numbers, are smaller and faster without `shuffle`.
    """
    options: dict[str, Any] = {"chunks": tuple(chunks)}
    if group.metadata.zarr_format == 2:
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        blosc = {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": int(shuffle)}
        options["compressors"] = blosc
    else:
        options["shards"] = shards and tuple(shards)
        options["dimension_names"] = list(axes)
        options["compressors"] = BloscCodec(
            cname="zstd", clevel=1, shuffle="shuffle" if shuffle else "noshuffle"
        )
    group.create_array(name, shape=tuple(shape), dtype=dtype, fill_value=0, **options)


def inside(root: Path, *names: Any, argument: str, links: bool = False) -> Path:
    """Path of a name in the metadata of an image or plate: `inside(path, "labels", name)`.

    Args:
        root: Folder of the image or plate, which may itself be a link.
        names: Folders on the way; a name may have several parts, such as `scale0/image`.
        argument: Name of the task's argument, for the error messages.
        links: Whether links may lead out of it, as they may to a whole image of a plate.

    Raises:
        ValueError: A name, or a link on the way, leads out of the folder before it.
    """
    path = root
    for name in names:
        is_name = isinstance(name, str) and not set(name) & set("\\\0")
        parts = Path(name).parts if is_name else ()
        if not parts or ".." in parts or Path(name).is_absolute():
            raise ValueError(
                f"{argument}: {path} names {name!r}, which lies outside of it"
            )
        path = path / name
    below = path.relative_to(root).parts
    passed = [root.joinpath(*below[: n + 1]) for n in range(len(below))]
    try:
        is_inside = (
            links
            or not any(map(Path.is_symlink, passed))
            or path.resolve().is_relative_to(root.resolve())
        )
    except (OSError, RuntimeError):  # links in a circle
        is_inside = False
    if not is_inside:
        raise ValueError(
            f"{argument}: {path} is a link out of {root}: put what it links to in its place"
        )
    return path


def plain_path(name: Any) -> str:
    """A path in the metadata of a plate or well in its shortest form: `./A/01/` is `A/01`.

    Raises:
        ValueError: It is no text.
    """
    if not isinstance(name, str):
        raise ValueError(f"its path is {name!r}, and not a text: write it in quotes")
    return PurePosixPath(name).as_posix()


# --- lists that tasks share ---


def edit_group(
    folder: Path,
    zarr_format: int,
    change: Callable[[dict[str, Any]], object],
    shared: Path | None = None,
) -> None:
    """Change the attributes of a group that tasks share; create it if it is missing.

    Args:
        folder: Folder of the group, which exists.
        zarr_format: Its format.
        change: Gets the attributes, and changes them; again, if they changed meanwhile.
        shared: What is locked; default: the folder.
    """
    file = folder / (".zattrs" if zarr_format == 2 else "zarr.json")

    def edit(lock: Lock) -> None:
        text = file.read_text("utf-8") if file.exists() else "{}"
        new = json.loads(text)
        if zarr_format == 3:
            new = {"zarr_format": 3, "node_type": "group", "attributes": {}} | new
        elif not (folder / ".zgroup").exists():
            lock.replace(folder / ".zgroup", json.dumps({"zarr_format": 2}))
        change(new if zarr_format == 2 else new["attributes"])
        if new != json.loads(text):
            lock.replace(file, json.dumps(new, indent=2))

    while_locked(shared or folder, edit)


def add_to_image(path: Path) -> None:
    """Add `labels/<name>` or `tables/<name>` to the list in its image, unless it is there."""
    folder, kind, name = path.parents[1], path.parent.name, path.name
    drop_consolidated(path)
    zarr_format = 3 if (folder / "zarr.json").exists() else 2

    def add(attributes: dict[str, Any]) -> None:
        # NGFF 0.5 keeps its own metadata under "ome"; tables are not part of NGFF.
        in_ome = kind == "labels" and zarr_format == 3
        holder = (
            attributes.setdefault("ome", {"version": "0.5"}) if in_ome else attributes
        )
        names = holder.setdefault(kind, [])
        if name not in names:
            names.append(name)

    edit_group(path.parent, zarr_format, add, shared=folder)


def add_to_well(path: Path, like: str) -> None:
    """Add an image to the list in its well, with the acquisition of another one."""
    try:
        well = open_group(path.parent)
        _ = ome_metadata(well)["well"]
    except (FileNotFoundError, KeyError, ValueError):  # it lies in no well
        return
    drop_consolidated(path)

    def add(attributes: dict[str, Any]) -> None:
        images = attributes.get("ome", attributes)["well"]["images"]
        entries = {plain_path(entry["path"]): entry for entry in images}
        if like in entries and path.name not in entries:
            images.append(entries[like] | {"path": path.name})

    edit_group(path.parent, well.metadata.zarr_format, add)


def drop_consolidated(path: Path) -> None:
    """Remove the consolidated metadata around `path`, which are out of date.

    To write them again would take longer with each image of a plate; all readers can do
    without.
    """
    for parent in path.parents[:5]:  # labels, image, well, row, plate
        (parent / ".zmetadata").unlink(missing_ok=True)
        file, key = parent / "zarr.json", "consolidated_metadata"

        def drop(lock: Lock, file: Path = file, key: str = key) -> None:
            metadata = json.loads(file.read_text("utf-8"))
            if key in metadata:
                del metadata[key]
                lock.replace(file, json.dumps(metadata, indent=2))

        if file.exists() and key in json.loads(file.read_text("utf-8")):
            while_locked(parent, drop)
