"""A timm classifier with label smoothing, and each batch mixed by Mixup or by CutMix, half of the time each."""

model = dict(
    type='TimmClassifier',
    num_classes=1000,
    loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
