"""One file per family; importing this package registers every variant with timm."""

from . import dsm, glnet, lsnet, ms_mlp, raft_mlp, scaling_mlp, strip_mlp, swin_mlp

__all__ = ['dsm', 'glnet', 'lsnet', 'ms_mlp', 'raft_mlp', 'scaling_mlp', 'strip_mlp', 'swin_mlp']
