"""Plots that the tools write."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any


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
        beside = f'{path}.part'
        figure.savefig(beside, format='png', dpi=120)
    finally:
        plt.close(figure)
    os.replace(beside, path)
