"""Shared operators and modules that families are built of."""

from .activation import gelu
from .channel_gate import ChannelGate
from .conv_norm import Affine, BatchNorm2d, ConvNorm, fuse_conv_norm, require_eval
from .free import covering, free_narrow, free_pad, free_reshape, free_transpose
from .head import DistilledHead, LayerNormLinear, NormLinear
from .map_norm import MapNorm
from .mlp import NormMlp, fold_affine
from .onednn import linear
from .overlap import overlap_merge, overlap_partition
from .pairs import fold_pairs, pair_product
from .parts import by_images
from .patch import PatchEmbed, pad_to_patches, zero_pad
from .peaks import peak_gate
from .pointwise import Pointwise
from .reparam import RepDepthwise
from .resample import apply_sides, cubic_matrix, cubic_taps, linear_matrix, resize_map
from .response_mlp import ResponseMlp
from .shift import shift_groups, shifted_depthwise
from .ska import small_kernel_aggregation
from .spectral import Backend, check_backend, cosine, fourier, inverse_cosine, inverse_fourier
from .window import window_linear, window_merge, window_partition

__all__ = [
    'Affine',
    'Backend',
    'BatchNorm2d',
    'ChannelGate',
    'ConvNorm',
    'DistilledHead',
    'LayerNormLinear',
    'MapNorm',
    'NormLinear',
    'NormMlp',
    'PatchEmbed',
    'Pointwise',
    'RepDepthwise',
    'ResponseMlp',
    'apply_sides',
    'by_images',
    'check_backend',
    'cosine',
    'covering',
    'cubic_matrix',
    'cubic_taps',
    'fold_affine',
    'fold_pairs',
    'fourier',
    'free_narrow',
    'free_pad',
    'free_reshape',
    'free_transpose',
    'fuse_conv_norm',
    'gelu',
    'inverse_cosine',
    'inverse_fourier',
    'linear',
    'linear_matrix',
    'overlap_merge',
    'overlap_partition',
    'pad_to_patches',
    'pair_product',
    'peak_gate',
    'require_eval',
    'resize_map',
    'shift_groups',
    'shifted_depthwise',
    'small_kernel_aggregation',
    'window_linear',
    'window_merge',
    'window_partition',
    'zero_pad',
]
