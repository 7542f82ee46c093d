"""Deployment of any model: re-parameterise it (`fuse`), write it as an ONNX file and compare it (`export_onnx`)."""

from .fuse import fuse

__all__ = ['fuse']
