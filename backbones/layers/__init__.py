"""Shared operators and modules that families are built of."""

from .adaptive_pool import adaptive_pool, pool_matrix
from .constants import constant
from .conv_norm import Affine, BatchNorm2d, ConvNorm, fuse_conv_norm, require_eval
from .depthwise_mlp import NormDepthwiseMlp
from .free import covering, free_narrow, free_pad, free_reshape, free_transpose
from .head import DistilledHead, LayerNormLinear, NormLinear
from .map_depthwise import MapDepthwise, ResidualDepthwise
from .mlp import NormMlp, fold_affine
from .onednn import linear
from .overlap import overlap_merge, overlap_partition
from .patch import PatchEmbed, pad_to_patches, zero_pad
from .reparam import RepDepthwise
from .resample import apply_sides, cubic_matrix, cubic_taps, linear_matrix, resize_map
from .response_mlp import ResponseMlp
from .self_attention import SelfAttention
from .shift import shift_groups, shifted_depthwise
from .ska import small_kernel_aggregation
from .soft_groups import gather_groups
from .spectral import Backend, check_backend, cosine, fourier, inverse_cosine, inverse_fourier
from .transition import Stem, Transition
from .window import window_linear, window_merge, window_partition
from .zigzag import band_matrices, zigzag_ranks

__all__ = [
    'Affine',
    'Backend',
    'BatchNorm2d',
    'ConvNorm',
    'DistilledHead',
    'LayerNormLinear',
    'MapDepthwise',
    'NormDepthwiseMlp',
    'NormLinear',
    'NormMlp',
    'PatchEmbed',
    'RepDepthwise',
    'ResidualDepthwise',
    'ResponseMlp',
    'SelfAttention',
    'Stem',
    'Transition',
    'adaptive_pool',
    'apply_sides',
    'band_matrices',
    'check_backend',
    'constant',
    'cosine',
    'covering',
    'cubic_matrix',
    'cubic_taps',
    'fold_affine',
    'fourier',
    'free_narrow',
    'free_pad',
    'free_reshape',
    'free_transpose',
    'fuse_conv_norm',
    'gather_groups',
    'inverse_cosine',
    'inverse_fourier',
    'linear',
    'linear_matrix',
    'overlap_merge',
    'overlap_partition',
    'pad_to_patches',
    'pool_matrix',
    'require_eval',
    'resize_map',
    'shift_groups',
    'shifted_depthwise',
    'small_kernel_aggregation',
    'window_linear',
    'window_merge',
    'window_partition',
    'zero_pad',
    'zigzag_ranks',
]
