"""Deployment of any model: re-parameterise it (`fuse`), write it as an ONNX file and compare it (`export_onnx`)."""

from typing import TYPE_CHECKING, Any

from .fuse import fuse

if TYPE_CHECKING:
    from .export import export_onnx

__all__ = ['export_onnx', 'fuse']


def __getattr__(name: str) -> Any:
    if name != 'export_onnx':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        from .export import export_onnx
    except ModuleNotFoundError as error:  # fuse needs torch alone
        raise ModuleNotFoundError(
            f'export_onnx needs {error.name}, which is not installed: pip install backbones[onnx].'
        ) from error
    return export_onnx
