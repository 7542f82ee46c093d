"""What `profile.py --spikes` prints and draws: firing rates, operations and energy of spiking networks on pictures."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backbones.energy import Account

try:
    from tools import models, pictures, plots
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import models  # type: ignore[no-redef]
    import pictures  # type: ignore[no-redef]
    import plots  # type: ignore[no-redef]


def report(options: argparse.Namespace) -> None:
    """Account for every model of the command line, print tables, and draw the plot that is asked for.

    Raises:
        ValueError: There are no pictures, a model is unknown, takes clips or has no neurons, or --checkpoint is given
            for several models.
    """
    from rich.console import Console

    if options.checkpoint and len(options.model) > 1:
        raise ValueError(f'--checkpoint holds the weights of one model, but {len(options.model)} are named.')
    paths = pictures.find('--spikes', options.spikes, options.images)
    accounts = {name: _account(name, paths, options) for name in options.model}
    console = Console(width=None if os.isatty(1) else 160)
    if not options.checkpoint:
        console.print(
            'Weights are random, and so are rates and energy: --checkpoint FILE gives trained ones.', style='bold'
        )
    console.print(_totals(accounts, len(paths)))
    for name, found in accounts.items():
        console.print(_rates(name, found))
        console.print(_products(name, found))
    if options.plot:
        _draw(accounts, options.plot)
        console.print(f'wrote {options.plot}', highlight=False)


def _account(name: str, paths: list[Path], options: argparse.Namespace) -> 'Account':
    from backbones.energy import account

    model = models.create(name, words=options.model_kwargs, checkpoint=options.checkpoint).eval()
    if getattr(model, 'clips', False):
        raise ValueError(f'{name} takes clips of an event camera, but --spikes reads pictures: call backbones.energy.')
    return account(model, pictures.load(model, paths), integers=options.integers)


def _totals(accounts: dict[str, 'Account'], count: int) -> Any:
    from rich.table import Table

    table = Table('Model', title=f'For one picture, mean over {count}')
    for column in ('Firing rate', 'Dense MACs (G)', 'MACs (G)', 'ACs (G)'):
        table.add_column(column, justify='right')
    for column in ('Arithmetic', 'Membranes', 'Spiking', 'Real', 'Quantised'):
        table.add_column(f'{column} (mJ)', justify='right')
    for name, found in accounts.items():
        counts = (f'{value / 1e9:.4f}' for value in (found.dense, found.macs, found.acs))
        spiking = found.compute_mj + found.membranes_mj
        energy = (found.compute_mj, found.membranes_mj, spiking, found.real_mj, found.quantised_mj)
        table.add_row(name, f'{found.rate:.3f}', *counts, *(f'{value:.3f}' for value in energy))
    return table


def _rates(name: str, found: 'Account') -> Any:
    from rich.table import Table

    table = Table('Neurons', title=name)
    for column in ('Count', 'Steps', 'Firing rate'):
        table.add_column(column, justify='right')
    for rate in found.rates:
        table.add_row(rate.name, str(rate.neurons), str(rate.steps), f'{rate.rate:.4f}')
    return table


def _products(name: str, found: 'Account') -> Any:
    from rich.table import Table

    table = Table('Layer', 'Kind', title=name)
    for column in ('Dense MACs (M)', 'MACs (M)', 'ACs (M)', 'Left of dense'):
        table.add_column(column, justify='right')
    for product in found.products:
        counts = (f'{value / 1e6:.3f}' for value in (product.dense, product.macs, product.acs))
        table.add_row(product.name, product.kind, *counts, f'{product.rate:.4f}')
    return table


def _draw(accounts: dict[str, 'Account'], path: str) -> None:
    """Rates by layer on the left, energy by kind on the right."""
    from matplotlib.ticker import MaxNLocator

    width = 0.8 / len(accounts)
    with plots.subplots(path, 1, 2, figsize=(11, 4)) as (left, right):
        for i, (name, found) in enumerate(accounts.items()):
            left.plot([rate.rate for rate in found.rates], marker='.', label=name)
            places = [place + i * width for place in range(3)]
            right.bar(places, [found.compute_mj, found.real_mj, found.quantised_mj], width)
            right.bar(places[0], found.membranes_mj, width, bottom=found.compute_mj, color='lightgrey', hatch='//')
        left.set(xlabel='layer of neurons, from the picture on', ylabel='firing rate', ylim=(0, None))
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        right.set_xticks([place + 0.4 - width / 2 for place in range(3)], ['spiking', 'real', 'quantised'])
        right.set(ylabel='mJ a picture (grey: membranes)')
        left.legend()  # for both: colours are the same, and bars leave no room
