"""mmpretrain's runtime with our backbones, and checkpoints that a crash never leaves half written."""

_base_ = ['mmpretrain::_base_/default_runtime.py']
custom_imports = dict(imports=['backbones.mm'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(backend_args=dict(backend='whole_file')))
randomness = dict(seed=0)
