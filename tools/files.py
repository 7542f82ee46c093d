"""Files that the tools write: whole, or not at all."""

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write(path: str | os.PathLike, data: str | bytes) -> None:
    """Write beside the target and rename, so that nothing that lies there is lost to a crash.

    Args:
        path: The file; its folder exists.
        data: All that goes into it; text becomes UTF-8.
    """
    beside = Path(f'{os.fspath(path)}.part')
    try:
        beside.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def tidied_when_stopped() -> Iterator[None]:
    """Let SIGTERM, as `timeout` and job schedulers send it, end the block by SystemExit, so that it clears up first."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # no other can set it
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def check(path: str, option: str) -> None:
    """Make sure that a file can be written.

    Args:
        path: The file.
        option: How the command line calls it.

    Raises:
        ValueError: Its folder is missing or takes no file, or it is a folder itself.
    """
    folder = Path(path).parent
    if not folder.is_dir():
        raise ValueError(f'{option} {path}: there is no folder {folder}: make it, or name another')
    if Path(path).is_dir():
        raise ValueError(f'{option} must be a file, but {path} is a folder: name a file in it')
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f'{option} {path}: no file can be written into {folder} ({error.strerror}): name another folder'
        ) from error
