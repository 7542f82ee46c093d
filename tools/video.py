"""Videos, frame by frame: one frame in memory at a time, however long the film is."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = {'.avi', '.mkv', '.mov', '.mp4'}
_RATE = 25.0  # of a file that names none


def check(path: Path) -> None:
    """Refuse what cannot be read.

    Raises:
        ValueError: The file is no video that can be opened, or no frame of it can be decoded.
    """
    for _ in _frames(path):
        return
    raise ValueError(f'{path} must be a video with at least one frame that can be decoded, but it has none')


def promised(path: Path) -> int:
    """How many frames the file says it has; one that was cut off has fewer, and some say nothing (0 or less)."""
    import cv2

    capture = _open(path)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return count


def redraw(source: Path, target: Path, each: Callable[[int, float, Path, Path], None]) -> int:
    """Make a video of another, frame by frame.

    Args:
        source: The video.
        target: The .mp4 file, written beside its place and renamed; rate and size are the source's, less the last
            column or row where a side is odd.
        each: Called with number, second, a file that holds the frame, and a file to write in its place.

    Returns:
        How many frames there were.
    """
    import cv2

    beside = target.with_name(f'{target.stem}.part{target.suffix}')
    rate, writer, number = _rate(source), None, -1
    try:
        with tempfile.TemporaryDirectory() as folder:
            before, after = Path(folder, 'frame.bmp'), Path(folder, 'drawn.bmp')
            for number, frame in enumerate(_frames(source)):
                height, width = frame.shape[:2]
                writer = writer or _writer(beside, rate, (width, height))
                cv2.imwrite(str(before), frame)
                each(number, number / rate, before, after)
                drawn: Any = cv2.imread(str(after))
                writer.write(drawn if drawn.shape == frame.shape else cv2.resize(drawn, (width, height)))
        if writer is not None:
            writer.release()
            os.replace(beside, target)
    finally:
        if writer is not None:
            writer.release()
        beside.unlink(missing_ok=True)
    return number + 1


def _writer(path: Path, rate: float, size: tuple[int, int]) -> Any:
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, size)
    if not writer.isOpened():
        raise ValueError(f'{path} of {size[0]} x {size[1]} pixels cannot be written as mp4v by this OpenCV')
    return writer


def _open(path: Path) -> Any:
    import cv2

    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise ValueError(f'{path} is no video that OpenCV can open, or not a whole one')
    return capture


def _rate(path: Path) -> float:
    """Frames a second."""
    import cv2

    capture = _open(path)
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate if 0 < rate < 1000 else _RATE


def _frames(path: Path) -> 'Iterator[np.ndarray]':
    """Arrays (H, W, 3) of blue, green and red."""
    capture = _open(path)
    try:
        while True:
            whole, frame = capture.read()
            if not whole:
                return
            yield frame
    finally:
        capture.release()
