# SVT-H-B on ImageNet-1K, without token labels.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/svt_b_imagenet.py --launcher pytorch --amp
# Expected on the validation split: not published without token labels.
# The published runs add dense label maps of a teacher, which this project cannot read (top-1 85.2 with them); so these
# are the settings of the code without such maps.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = ['svt_s_imagenet.py']

model = dict(model_name='svt_b')
