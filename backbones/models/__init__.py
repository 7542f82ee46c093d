"""One file per family; importing this package registers every variant with timm."""

from . import lsnet, ms_mlp, raft_mlp, scaling_mlp, spartan, strip_mlp, swin_mlp

__all__ = ['lsnet', 'ms_mlp', 'raft_mlp', 'scaling_mlp', 'spartan', 'strip_mlp', 'swin_mlp']
