"""Shared operators and modules that families are built of."""

from .conv_norm import Affine, BatchNorm2d, ConvNorm, fuse_conv_norm, require_eval
from .head import DistilledHead, NormLinear
from .mlp import NormMlp, fold_affine
from .reparam import RepDepthwise
from .resample import cubic_matrix, linear_matrix
from .ska import small_kernel_aggregation
from .window import window_linear, window_merge, window_partition, zero_pad

__all__ = [
    'Affine',
    'BatchNorm2d',
    'ConvNorm',
    'DistilledHead',
    'NormLinear',
    'NormMlp',
    'RepDepthwise',
    'cubic_matrix',
    'fold_affine',
    'fuse_conv_norm',
    'linear_matrix',
    'require_eval',
    'small_kernel_aggregation',
    'window_linear',
    'window_merge',
    'window_partition',
    'zero_pad',
]
