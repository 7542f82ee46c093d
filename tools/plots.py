"""Plots that the tools write."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

try:
    from tools import files
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import files  # type: ignore[no-redef]

DPI = 120


@contextlib.contextmanager
def subplots(path: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
    """matplotlib's axes to draw into; afterwards the PNG file is written beside its place and renamed.

    Args:
        path: The file.
        *args: As `matplotlib.pyplot.subplots` takes them.
        **kwargs: Likewise.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(*args, layout='constrained', **kwargs)
    try:
        yield axes
        figure.savefig(drawn := io.BytesIO(), format='png', dpi=DPI)
    finally:
        plt.close(figure)
    files.write(path, drawn.getvalue())
