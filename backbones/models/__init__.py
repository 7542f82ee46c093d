"""One file per family; importing this package registers every variant with timm."""

from . import (
    affnet,
    dsm,
    fmvit,
    glnet,
    lsnet,
    max_former,
    ms_mlp,
    qkformer,
    raft_mlp,
    scaling_mlp,
    sdt,
    spartan,
    spikingformer,
    strip_mlp,
    svt,
    swin_mlp,
)

__all__ = [
    'affnet',
    'dsm',
    'fmvit',
    'glnet',
    'lsnet',
    'max_former',
    'ms_mlp',
    'qkformer',
    'raft_mlp',
    'scaling_mlp',
    'sdt',
    'spartan',
    'spikingformer',
    'strip_mlp',
    'svt',
    'swin_mlp',
]
