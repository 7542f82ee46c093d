# Strip-MLP-B on CIFAR-10 at 224x224, from scratch, as published, in float32.
#   python tools/train.py configs/classification/strip_mlp_base_cifar10.py
# Expected: published (Cao et al., Strip-MLP, arXiv 2307.11458), and not at hand.
# Needs data/cifar10. 64 pictures on one GPU, the repository's
# batch where no other is named.
_base_ = ['strip_mlp_tiny_light_cifar10.py']

model = dict(model_name='strip_mlp_base')
