"""The HTML page of `look.py`: the errors of a run and all other views of a folder, in one file that stands alone."""

from pathlib import Path
from typing import Any

try:
    from tools import demo_page, files, look_maps
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import demo_page  # type: ignore[no-redef]
    import files  # type: ignore[no-redef]
    import look_maps  # type: ignore[no-redef]

_BEGIN, _END = '<!-- views -->', '<!-- end of views -->'
_NAMES = ('side_by_side_*.png', 'maps_*.png', 'field_*.png', 'cam_*.png')


def shown(path: Path) -> dict[str, Any]:
    """A picture as the page holds it."""
    with look_maps.read(path) as image:
        return {'uri': demo_page.uri(image.convert('RGB')), 'width': image.width, 'height': image.height}


def render(folder: Path, errors: dict[str, Any] | None = None) -> str:
    """The page with the views that lie in a folder.

    Args:
        folder: Of the pictures.
        errors: What `look.py errors` says.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(Path(__file__).with_name('look_page.html').read_text(encoding='utf-8'))
    paths = [path for name in _NAMES for path in sorted(folder.glob(name))]
    views = [{'name': path.stem.replace('_', ' '), **shown(path)} for path in paths]
    return template.render(errors=errors, views=views)


def refresh(folder: Path) -> str:
    """Write the page anew with all views that lie in the folder; the errors on it stay. A word on where it is."""
    page, text = folder / 'index.html', render(folder)
    if page.is_file():
        old = page.read_text(encoding='utf-8', errors='replace')
        if _BEGIN not in old or _END not in old:
            return f'{page} is another one, and stays'
        (head, rest), fresh = old.split(_BEGIN, 1), text.split(_BEGIN, 1)[1].split(_END, 1)[0]
        text = f'{head}{_BEGIN}{fresh}{_END}{rest.split(_END, 1)[1]}'
    files.write(page, text)
    return f'and on the page {page}'
