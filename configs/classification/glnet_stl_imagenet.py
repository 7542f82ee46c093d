# GLNet-STL on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/glnet_stl_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 82.5 (Zhu et al., GLMix, arXiv 2411.14429), of the
# weights themselves, while validation here takes their average. Not rerun here.
# Needs data/imagenet.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_lsnet.py',
    '../_base_/schedules/glnet_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='glnet_stl', drop_path_rate=0.1)
