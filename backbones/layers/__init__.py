"""Shared operators and modules that families are built of."""

from .activation import gelu
from .adaptive_pool import adaptive_pool, pool_matrix
from .attention import Attention, MapAttention, SelfAttention
from .channel_gate import ChannelGate
from .class_attention import ClassBlock, TokenLabelHead
from .complex_blend import ComplexBlend, RowBlend
from .constants import constant
from .conv_mlp import NormConvMlp
from .conv_norm import Affine, BatchNorm2d, ConvNorm, fuse_conv_norm, require_eval
from .dual_spike_attention import DualSpikeAttention, attend_spikes
from .encoding import ENCODINGS, check_encoding, encode
from .free import covering, free_narrow, free_pad, free_reshape, free_transpose
from .haar import haar_matrix
from .head import DistilledHead, LayerNormLinear, NormLinear
from .integer_neurons import ILIF, NILIF
from .map_depthwise import MapDepthwise, ResidualDepthwise
from .map_norm import MapNorm
from .max_pool import MaxPool
from .mixed_lif import MixedLIF, images_apart
from .mlp import NormMlp, fold_affine
from .multigroup import MultiGroupConv
from .neuron_maker import NEURONS, GroupedNeuron, grouped, neuron_maker
from .neurons import CLIF, EIF, KLIF, PLIF
from .onednn import linear
from .overlap import overlap_merge, overlap_partition
from .pairs import fold_pairs, pair_product
from .parts import by_images
from .patch import PatchEmbed, pad_to_patches, zero_pad
from .peaks import peak_gate
from .pointwise import Pointwise
from .pool import average_pool
from .precision import full_precision, widened
from .reparam import RepDepthwise
from .resample import apply_sides, cubic_matrix, cubic_taps, linear_matrix, resize_map, resize_table
from .response_mlp import ResponseMlp
from .scatter_parts import fits_scatter, scatter_in_parts
from .shift import shift_groups, shifted_depthwise
from .ska import small_kernel_aggregation
from .soft_groups import gather_groups
from .spectral import Backend, check_backend, cosine, fourier, inverse_cosine, inverse_fourier
from .spiking import IF, LIF, Neuron, Repeat, TernaryIF, clip_steps, mean_steps
from .spiking_attention import SpikingSelfAttention, TokenQK, check_heads
from .spiking_mlp import SpikingMlp
from .spiking_stem import SpikingConv, split_stem, stem_levels
from .step_pool import StepPool
from .sub_grid import sub_grids, whole_grid
from .surrogate import SURROGATES, fire
from .timed_neurons import GLIF, PSN
from .transition import Stem, Transition
from .wavelet import inverse_wavelet, phases, wavelet
from .window import window_linear, window_merge, window_partition
from .zigzag import band_shares, zigzag_ranks

__all__ = [
    'CLIF',
    'EIF',
    'ENCODINGS',
    'GLIF',
    'IF',
    'ILIF',
    'KLIF',
    'LIF',
    'NEURONS',
    'NILIF',
    'PLIF',
    'PSN',
    'SURROGATES',
    'Affine',
    'Attention',
    'Backend',
    'BatchNorm2d',
    'ChannelGate',
    'ClassBlock',
    'ComplexBlend',
    'ConvNorm',
    'DistilledHead',
    'DualSpikeAttention',
    'GroupedNeuron',
    'LayerNormLinear',
    'MapAttention',
    'MapDepthwise',
    'MapNorm',
    'MaxPool',
    'MixedLIF',
    'MultiGroupConv',
    'Neuron',
    'NormConvMlp',
    'NormLinear',
    'NormMlp',
    'PatchEmbed',
    'Pointwise',
    'RepDepthwise',
    'Repeat',
    'ResidualDepthwise',
    'ResponseMlp',
    'RowBlend',
    'SelfAttention',
    'SpikingConv',
    'SpikingMlp',
    'SpikingSelfAttention',
    'Stem',
    'StepPool',
    'TernaryIF',
    'TokenLabelHead',
    'TokenQK',
    'Transition',
    'adaptive_pool',
    'apply_sides',
    'attend_spikes',
    'average_pool',
    'band_shares',
    'by_images',
    'check_backend',
    'check_encoding',
    'check_heads',
    'clip_steps',
    'constant',
    'cosine',
    'covering',
    'cubic_matrix',
    'cubic_taps',
    'encode',
    'fire',
    'fits_scatter',
    'fold_affine',
    'fold_pairs',
    'fourier',
    'free_narrow',
    'free_pad',
    'free_reshape',
    'free_transpose',
    'full_precision',
    'fuse_conv_norm',
    'gather_groups',
    'gelu',
    'grouped',
    'haar_matrix',
    'images_apart',
    'inverse_cosine',
    'inverse_fourier',
    'inverse_wavelet',
    'linear',
    'linear_matrix',
    'mean_steps',
    'neuron_maker',
    'overlap_merge',
    'overlap_partition',
    'pad_to_patches',
    'pair_product',
    'peak_gate',
    'phases',
    'pool_matrix',
    'require_eval',
    'resize_map',
    'resize_table',
    'scatter_in_parts',
    'shift_groups',
    'shifted_depthwise',
    'small_kernel_aggregation',
    'split_stem',
    'stem_levels',
    'sub_grids',
    'wavelet',
    'whole_grid',
    'widened',
    'window_linear',
    'window_merge',
    'window_partition',
    'zero_pad',
    'zigzag_ranks',
]
