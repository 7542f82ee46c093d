"""Files that take their place when they are whole, or leave nothing."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ['beside', 'writing']


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """An empty file in the folder of `path`, which is gone afterwards, or was moved.

    Raises:
        OSError: As `writing`.
    """
    with writing(path):
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.stem}.', suffix=path.suffix)
        os.close(handle)
    try:
        yield Path(part)
    finally:
        Path(part).unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A full or closed disk in one sentence.

    Raises:
        OSError: What is written for `path` cannot be.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f'{path} cannot be written: {reason}. No part of it was left.') from error
