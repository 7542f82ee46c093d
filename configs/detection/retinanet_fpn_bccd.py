# RetinaNet, from scratch, for the blood cells of BCCD, on any backbone with maps of the strides 8, 16 and 32.
#   python tools/train.py configs/detection/retinanet_fpn_bccd.py --backbone raft_mlp_s
# Expected: as retinanet_lsnet_t_fpn_bccd.py without --backbone, else not measured.
_base_ = ['retinanet_lsnet_t_fpn_bccd.py']
