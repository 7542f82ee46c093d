"""Shared operators and modules that families are built of."""

from .conv_norm import Affine, BatchNorm2d, ConvNorm, fuse_conv_norm, require_eval
from .head import DistilledHead, NormLinear
from .reparam import RepDepthwise
from .resample import cubic_matrix, linear_matrix
from .ska import small_kernel_aggregation

__all__ = [
    'Affine',
    'BatchNorm2d',
    'ConvNorm',
    'DistilledHead',
    'NormLinear',
    'RepDepthwise',
    'cubic_matrix',
    'fuse_conv_norm',
    'linear_matrix',
    'require_eval',
    'small_kernel_aggregation',
]
