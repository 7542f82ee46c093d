# Spikformer with experts on CIFAR-10 at 32x32, as STEP trains it.
#   python tools/train.py configs/classification/spikf_semm_cifar10.py --amp
# Expected on the test split: top-1 94.98 (STEP, arXiv 2505.11151; the paper has 95.78). Not rerun here.
# Needs data/cifar10. 128 pictures on one GPU. Mean and deviation are those of CIFAR-100, as in STEP's recipe.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_max_former.py',
    '../_base_/schedules/step_410e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='spikf_semm_cifar',
    num_classes=10,
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)]),
)
data_preprocessor = dict(mean=[129.3105, 124.1085, 112.404], std=[68.2125, 65.4075, 70.4055])
train_pipeline = _base_.train_pipeline
train_pipeline[3].fill_color = [112.404, 124.1085, 129.3105]  # the mean, which is zero once the picture is normalised
for policy in train_pipeline[2].policies[1:]:
    policy.pad_val = [112, 124, 129]
del policy
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
