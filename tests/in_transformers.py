"""`python in_transformers.py FOLDER NAMES`: each name as a classifier and as a backbone of transformers.

A process of its own, since mmpretrain cannot be imported where transformers 5 is at hand. A name is printed when all
holds.
"""

import sys
from pathlib import Path

import torch
import transformers

from registry import NARROW, facts, family, shape


def check(name: str, folder: Path) -> None:
    """A classifier gives what timm's gives, also out of a folder that was saved; maps come by their index."""
    slim, image = NARROW[family(name)], torch.randn(shape(name, 1, (64, 96)))
    config = transformers.TimmWrapperConfig(architecture=name, num_labels=5, model_args=slim)
    model = transformers.TimmWrapperForImageClassification(config).eval()
    logits = model(image).logits
    assert logits.shape == (1, 5)
    torch.testing.assert_close(logits, model.timm_model(image))
    model.save_pretrained(folder / name)
    again = transformers.TimmWrapperForImageClassification.from_pretrained(folder / name).eval()
    torch.testing.assert_close(again(image).logits, logits)
    if facts(name).maps:
        body = transformers.TimmBackbone(transformers.TimmBackboneConfig(backbone=name, out_indices=[0, 1]), **slim)
        assert [m.shape[1] for m in body.eval()(image).feature_maps] == list(body.channels)


for name in sys.argv[2:]:
    check(name, Path(sys.argv[1]))
    print(name)
