# The bundled detector: RetinaNet on LSNet-T, from scratch, for the blood cells of BCCD.
#   python tools/train.py configs/detection/retinanet_lsnet_t_fpn_bccd.py
# Expected on the 72 photographs of the test split: AP 54.1, AP50 88.3 (RBC 46.1, WBC 72.3, platelets 43.8), measured
# here. It trains on the train split alone; epoch 75 of 90 was best on the validation split. 70 minutes on one core.
# checkpoints/retinanet_lsnet_t_fpn_bccd.safetensors is that checkpoint, packed:
#   python tools/pack.py CONFIG work_dirs/retinanet_lsnet_t_fpn_bccd/best_coco_bbox_mAP_epoch_75.pth FILE
_base_ = ['../_base_/recipes/retinanet_bccd.py']

model = dict(backbone=dict(model_name='lsnet_t'), neck=dict(in_channels=[64, 128, 256, 384]))
