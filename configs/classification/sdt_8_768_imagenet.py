# Spike-driven Transformer 8-768 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/sdt_8_768_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 76.32, of 288 pixels 77.07 (Yao et al., arXiv 2307.01694). Not rerun here.
# Needs data/imagenet. 8 GPUs x 36 pictures.
# Its file asks for a binary cross-entropy in one line and not in another; the code reads the second.
_base_ = ['sdt_6_512_imagenet.py']

model = dict(model_name='sdt_8_768', train_cfg=dict(probs=[0.5, 0.5]))
train_dataloader = dict(batch_size=36)
auto_scale_lr = dict(base_batch_size=288)
