# SVT-H-S on ImageNet-1K, without token labels.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/svt_s_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 83.1 (Patro and Agneeswaran, SVT, arXiv 2311.01310). Not rerun here.
# The published runs add dense label maps of a teacher, which this project cannot read (top-1 84.2 with them); so these
# are the settings of the code without such maps.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_svt.py',
    '../_base_/schedules/svt_310e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='svt_s', token_label=False, drop_path_rate=0.1)
