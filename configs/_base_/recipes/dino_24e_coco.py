"""mmdet's DINO on COCO, 24 epochs, 8 GPUs x 2 pictures, from ImageNet weights, maps at strides 8, 16 and 32."""

_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-24e_coco.py']
custom_imports = dict(imports=['backbones.mm'], allow_failed_imports=False)
model = dict(
    backbone=dict(_delete_=True, type='TimmFeatures', out_indices=(1, 2, 3), init_cfg=dict(type='Pretrained')),
)
default_hooks = dict(checkpoint=dict(backend_args=dict(backend='whole_file')))
randomness = dict(seed=0)
