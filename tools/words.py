"""How the tools speak of many things, and of things to know."""

import os
import sys

LISTED = 20  # things that a sentence has room for


def first(items: list) -> str:
    """The first three, and a sign that there are more."""
    return ', '.join(map(str, items[:3])) + (', ...' if len(items) > 3 else '')


def say(line: str) -> None:
    """One line on stderr, from the first of several processes."""
    if os.environ.get('RANK', '0') == '0':
        print(line, file=sys.stderr)
