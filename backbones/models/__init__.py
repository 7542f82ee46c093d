"""One file per family; importing this package registers every variant with timm."""

from . import lsnet

__all__ = ['lsnet']
