"""One file per family; importing this package registers every variant with timm."""

from . import (
    affnet,
    dsm,
    fmvit,
    glnet,
    lsnet,
    max_former,
    max_resnet,
    ms_mlp,
    raft_mlp,
    scaling_mlp,
    sglformer,
    spartan,
    spikformer_semm,
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
    'max_resnet',
    'ms_mlp',
    'raft_mlp',
    'scaling_mlp',
    'sglformer',
    'spartan',
    'spikformer_semm',
    'strip_mlp',
    'svt',
    'swin_mlp',
]
