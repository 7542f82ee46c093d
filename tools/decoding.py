"""Whether a picture can be read, by what the pipeline of a config reads it with."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

_JPEG_END = b'\xff\xd9'
_ORIENTATION = 0x0112  # EXIF's number of how the camera was held
_TAIL = 1024  # bytes; cameras append a little behind the end of a picture
Decoder = Callable[[bytes], Any]


def decoders(parts: Iterable[Mapping[str, Any]]) -> dict[bool, Decoder]:
    """What a pipeline reads a picture (False) and a class map (True) with."""
    import mmcv

    load = next((step for step in parts if 'LoadImage' in str(step.get('type'))), {})
    flag, backend = load.get('color_type', 'color'), load.get('imdecode_backend', 'cv2')
    return {
        False: partial(mmcv.imfrombytes, flag=flag, backend=backend),
        True: partial(mmcv.imfrombytes, flag='unchanged', backend='pillow'),
    }


def is_turned(parts: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pipeline turns a picture as its camera noted."""
    load = next((step for step in parts if 'LoadImage' in str(step.get('type'))), {})
    return load.get('color_type', 'color') in ('color', 'grayscale') and load.get('imdecode_backend') != 'turbojpeg'


def size(path: str, turned: bool) -> tuple[int, int] | None:
    """Width and height of a picture, in pixels; None for one that must be decoded to tell."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            on_its_side = picture.getexif().get(_ORIENTATION, 1) > 4
            if on_its_side and picture.format != 'JPEG':
                return None
            return picture.size[::-1] if on_its_side and turned else picture.size
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return None


def is_readable(path: str, maps: dict[str, bool], decoders: dict[bool, Decoder]) -> bool:
    """Whether a file of a data set, of which `maps` says whether it is a class map, can be read."""
    return is_picture(path, decoders[maps[path]])


def is_picture(path: str | Path, decode: Decoder) -> bool:
    """Whether a file is a whole picture; only what neither a JPEG's end nor a PNG's checksums tell is decoded."""
    try:
        return _is_whole(path) or decode(Path(path).read_bytes()) is not None
    except Exception:  # decoders raise whatever they like
        return False


def _is_whole(path: str | Path) -> bool:
    """Whether a file is a JPEG with an end or a PNG with its checksums, which need no decoding.

    Raises:
        Exception: It is a PNG with others.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with open(path, 'rb') as file, Image.open(file) as picture:
            if picture.format == 'PNG':
                picture.verify()
            elif picture.format == 'JPEG':
                file.seek(max(0, os.path.getsize(path) - _TAIL))
                return _JPEG_END in file.read()
            return picture.format == 'PNG'
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return False
