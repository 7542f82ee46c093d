"""The OpenMMLab bridge: timm backbones for mmdetection, mmsegmentation and mmpretrain.

Import it through a config, nothing else is needed::

    custom_imports = dict(imports=['backbones.mm'], allow_failed_imports=False)
    model = dict(backbone=dict(type='TimmFeatures', model_name='lsnet_t'), neck=dict(in_channels=[64, 128, 256, 384]))

Only mmengine is required. It is the one room of the package that imports OpenMMLab; no model family is named here.
For classification use mmpretrain's own ``TimmClassifier``, which takes the same model names, or, with a teacher,
``DistilledTimmClassifier`` of ``backbones.mm.distill``, which is imported by that name.
"""

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import is_installed

from .features import TimmFeatures, feature_channels
from .files import WholeFileBackend, read_checkpoint, without_pictures
from .hooks import (
    ChannelsLastHook,
    ClassifierEMAHook,
    ResumableCheckpointHook,
    ResumableEarlyStoppingHook,
    ResumeExactHook,
)
from .optim import AdaptiveClipAmpOptimWrapper, AdaptiveClipOptimWrapper, TimmLayerDecayConstructor
from .weights import build_model, drop_start, load_weights

__all__ = [
    'AdaptiveClipAmpOptimWrapper',
    'AdaptiveClipOptimWrapper',
    'ChannelsLastHook',
    'ClassifierEMAHook',
    'ResumableCheckpointHook',
    'ResumableEarlyStoppingHook',
    'ResumeExactHook',
    'TimmFeatures',
    'TimmLayerDecayConstructor',
    'WholeFileBackend',
    'build_model',
    'drop_start',
    'feature_channels',
    'load_weights',
    'read_checkpoint',
    'without_pictures',
]

try:
    from .neck import TransposedConvFPN
except ImportError:  # mmdet is optional: without it there is no pyramid to extend
    pass
else:
    __all__ += ['TransposedConvFPN']

# mmengine looks `mmseg::` bases up by the distribution's name, which onedl-mmsegmentation does not have; the
# module's name finds both. It takes effect where this module is imported before a config is read, as our tools do.
if not is_installed('mmsegmentation') and is_installed('mmseg'):
    MODULE2PACKAGE['mmseg'] = 'mmseg'
