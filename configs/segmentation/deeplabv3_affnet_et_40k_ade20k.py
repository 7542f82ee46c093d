# DeepLabv3 on AFFNet-ET, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/deeplabv3_affnet_et_40k_ade20k.py --launcher pytorch
# Expected: 33.0 mIoU at 256x256 with the published training, whose settings are not public (arXiv 2307.14008). The
# rates, width and dropout of the head are those of the published code, whose output stride is 8 or 16; its head joins
# the rates by a 1x1 convolution (1.4 M parameters), mmsegmentation's by a 3x3 one (4.1 M). The auxiliary head and all
# else are the settings of mmsegmentation and of other families here. Not rerun here.
# Needs data/ade and the ImageNet weights checkpoints/affnet_et.pth (the folders that
# github.com/microsoft/TokenMixers links hold them).
_base_ = ['../_base_/models/deeplabv3_timm.py', '../_base_/recipes/ade20k_40k.py']

model = dict(
    data_preprocessor=dict(size=(512, 512), mean=[0, 0, 0], std=[255, 255, 255]),  # values in [0, 1] and no further
    backbone=dict(
        model_name='affnet_et',
        output_stride=16,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/affnet_et.pth'),
    ),
    decode_head=dict(in_channels=144, channels=256, dilations=(1, 6, 12, 18), dropout_ratio=0.1, num_classes=150),
    auxiliary_head=dict(in_channels=104, num_classes=150),
)
