"""Without what other libraries say while they work."""

import contextlib
import io
import logging
from collections.abc import Iterator

__all__ = ['quiet']


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No log lines below errors, and nothing printed: ONNX Runtime's advice, NNCF's bars."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
