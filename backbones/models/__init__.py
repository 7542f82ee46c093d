"""One file per family; importing this package registers every variant with timm."""

from . import (
    affnet,
    dsm,
    fmvit,
    glnet,
    lsnet,
    ms_mlp,
    raft_mlp,
    scaling_mlp,
    spartan,
    spiking_resformer,
    strip_mlp,
    svt,
    swformer,
    swin_mlp,
)

__all__ = [
    'affnet',
    'dsm',
    'fmvit',
    'glnet',
    'lsnet',
    'ms_mlp',
    'raft_mlp',
    'scaling_mlp',
    'spartan',
    'spiking_resformer',
    'strip_mlp',
    'svt',
    'swformer',
    'swin_mlp',
]
