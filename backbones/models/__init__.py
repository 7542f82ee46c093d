"""One file per family; importing this package registers every variant with timm."""

from . import lsnet, swin_mlp

__all__ = ['lsnet', 'swin_mlp']
