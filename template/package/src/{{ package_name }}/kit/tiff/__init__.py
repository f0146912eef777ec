"""Readers of TIFF files, as microscopes and ImageJ write them, for a task that converts them.

- Names: `find_tiffs` finds the files of a folder, `Naming` reads their names by a pattern
  or as a `Microscope` writes them.
- Files: `read_files` gives their positions, `read_indices` what the instrument says of them;
  `OpenFiles` reads planes.
- Images: `sort_images` sorts positions into images, a `Group` of files by `Key`;
  `select_images` rejects, skips or keeps those that lack planes; `log_images` lists them.
- Facts: `find_sizes`, `find_channels` and `find_wavelengths` of each image.
- Places: `Fields` is the argument, `find_places` gives the corner of each field, `canvas`
  the size of the image. `read_layout` reads the layout of a plate.

What can be imported from here stays so; the modules behind it may change.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .channels import find_channels as find_channels
    from .channels import find_wavelengths as find_wavelengths
    from .facts import Sizes as Sizes
    from .facts import find_sizes as find_sizes
    from .files import OpenFiles as OpenFiles
    from .files import TiffFile as TiffFile
    from .images import Group as Group
    from .images import Key as Key
    from .images import log_images as log_images
    from .images import select_images as select_images
    from .images import sort_images as sort_images
    from .index import read_indices as read_indices
    from .lists import Condition as Condition
    from .lists import read_layout as read_layout
    from .names import DEFAULT_PATTERN as DEFAULT_PATTERN
    from .names import Microscope as Microscope
    from .names import Naming as Naming
    from .names import find_tiffs as find_tiffs
    from .places import Fields as Fields
    from .places import Places as Places
    from .places import canvas as canvas
    from .places import find_places as find_places
    from .sources import read_files as read_files
else:
    from ..lazy import lazy_names

    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
