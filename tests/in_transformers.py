"""`python in_transformers.py FOLDER NAMES`: each name as a classifier of transformers and as its backbone.

A process of its own, since mmpretrain cannot be imported where transformers 5 is at hand. A name is printed when all
holds.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from torch import Tensor, nn

from registry import NARROW, facts, family, shape, without_gradient


def check_classifier(name: str, image: Tensor, folder: Path) -> None:
    """It gives what timm's model gives, also out of a folder, and learns."""
    config = transformers.TimmWrapperConfig(architecture=name, num_labels=5, model_args=NARROW[family(name)])
    model = transformers.TimmWrapperForImageClassification(config).eval()
    logits = model(image).logits
    assert logits.shape == (1, 5)
    torch.testing.assert_close(logits, model.timm_model(image))
    check_same(model, reloaded(model, folder))
    learns(model, lambda pair: model(pair, labels=torch.tensor([1, 2])).loss, image)


def check_backbone(name: str, image: Tensor) -> None:
    """It gives the maps of timm's extractor and learns."""
    slim = NARROW[family(name)]
    config = transformers.TimmBackboneConfig(backbone=name, out_indices=[0, 1])
    body = transformers.TimmBackbone(config, **slim).eval()
    maps = body(image).feature_maps
    assert [m.shape[1] for m in maps] == list(body.channels)
    own: Any = timm.create_model(name, features_only=True, out_indices=(0, 1), **slim).eval()
    own.load_state_dict(body._backbone.state_dict())
    torch.testing.assert_close(list(maps), own(image))
    learns(body, lambda pair: sum(m.square().mean() for m in body(pair).feature_maps), image)


def check_segmentor(name: str, image: Tensor, folder: Path) -> None:
    """One that stands on the backbone is the same out of a folder."""
    maps = transformers.TimmBackboneConfig(backbone=name, out_indices=[0, 1])
    config = transformers.UperNetConfig(backbone_config=maps, hidden_size=8, num_labels=3, use_auxiliary_head=False)
    model = transformers.UperNetForSemanticSegmentation(config).eval()
    again = reloaded(model, folder)
    check_same(model, again)
    with torch.no_grad():
        logits = model(image).logits
        assert logits.shape == (1, 3, *image.shape[-2:])
        torch.testing.assert_close(again(image).logits, logits)


def reloaded(model: Any, folder: Path) -> Any:
    model.save_pretrained(folder)
    return type(model).from_pretrained(folder).eval()


def check_same(model: nn.Module, again: nn.Module) -> None:
    """Parameters and buffers, also those that no file holds."""
    for kind in ('named_parameters', 'named_buffers'):
        torch.testing.assert_close(dict(getattr(again, kind)()), dict(getattr(model, kind)()), rtol=0, atol=0)


def learns(model: nn.Module, loss: Callable[[Tensor], Any], image: Tensor) -> None:
    """Every weight has a gradient after a step of training."""
    model.train()
    loss(torch.cat([image, image.flip(-1)])).backward()
    assert without_gradient(model) == []


for name in sys.argv[2:]:
    folder, image = Path(sys.argv[1]) / name, torch.randn(shape(name, 1, (64, 96)))
    check_classifier(name, image, folder / 'classifier')
    if facts(name).maps:
        check_backbone(name, image)
        check_segmentor(name, image, folder / 'segmentor')
    print(name)
