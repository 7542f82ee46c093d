"""Files that the tools write: whole, or not at all."""

import os
from pathlib import Path


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
