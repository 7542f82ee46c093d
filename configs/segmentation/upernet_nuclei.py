# UPerNet, from scratch, for the nuclei of data/nuclei, on any backbone with maps of the strides 4, 8, 16 and 32.
#   python tools/train.py configs/segmentation/upernet_nuclei.py --backbone svt_s
# Expected: not measured to the end.
_base_ = ['upernet_swin_mlp_tiny_c24_nuclei.py']
