"""All layouts, and which of them a folder follows."""

from dataclasses import fields
from importlib import import_module
from pathlib import Path

from mmcell.layouts.base import Layout, LayoutError, LayoutOptions
from mmcell.layouts.custom import load_layout

# Where each layout is defined: the module, and the name in it. If a folder follows several, the first one is taken only
# if it is class-maps; otherwise the user has to say which is meant.
_PLACES = {
    'class-maps': ('class_maps', 'LAYOUT'),
    'label-maps': ('label_maps', 'LABEL_MAPS'),
    'cellpose': ('label_maps', 'CELLPOSE'),
    'hovernet': ('label_maps', 'HOVERNET'),
    'qupath': ('qupath', 'LAYOUT'),
    'aperio': ('aperio', 'LAYOUT'),
    'imagej': ('imagej', 'LAYOUT'),
    'voc': ('voc', 'LAYOUT'),
    'coco': ('coco', 'LAYOUT'),
}
AUTO = 'auto'
NAMES = tuple(_PLACES)


def get_layout(name: str) -> Layout:
    """Returns the layout with this name, or the one that a Python file of the user describes.

    Raises:
        LayoutError: There is no layout of this name, and no such file.
    """
    if name in _PLACES:
        module, attribute = _PLACES[name]
        return getattr(import_module(f'mmcell.layouts.{module}'), attribute)
    if name.endswith('.py'):
        return load_layout(Path(name))
    raise LayoutError(f'there is no layout {name}: expected one of {", ".join((AUTO, *NAMES))}, or a Python file of '
                      'your own')


def refuse_unread_options(layout: Layout, options: LayoutOptions) -> None:
    """Raises a LayoutError if the user gave an option that a layout does not read."""
    given = [field.name for field in fields(options) if getattr(options, field.name)]
    for name in given if layout.reads is not None else ():
        if name not in layout.reads:
            readers = [other.name for other in map(get_layout, NAMES) if name in (other.reads or ())]
            raise LayoutError(f'--{name.replace("_", "-")} is not read with the layout {layout.name}, only with '
                              f'{", ".join(readers)}: leave it out, or name another layout with --layout')


def recognize_layout(root: Path) -> tuple[Layout, str]:
    """Returns the layout that a folder, or a file, follows, and a sentence that says what it was taken for.

    Raises:
        LayoutError: It follows none of the layouts, or several; the message says what was found, and what to type.
    """
    found = [(layout, text) for layout in map(get_layout, NAMES) if (text := layout.recognize(root))]
    if not found:
        return _take_for_class_maps(root)
    layout, text = found[0]
    if len(found) > 1 and layout.name != NAMES[0]:
        choices = '; '.join(f'--layout {layout.name} for {text}' for layout, text in found)
        raise LayoutError(f'{root}: it is not clear which files are meant. Give one of: {choices}')
    others = ''.join(f'; it also has {text} (--layout {layout.name})' for layout, text in found[1:])
    return layout, f'{text}{others}'


def _take_for_class_maps(root: Path) -> tuple[Layout, str]:
    """Returns class-maps for a folder that has the folder of training images, and raises an error for any other."""
    class_maps = get_layout(NAMES[0])
    try:
        class_maps.find_sources(root, LayoutOptions())
    except LayoutError as error:
        if not root.exists():
            raise
        refusal = LayoutError(f'{root}: its files follow no known layout. As class-maps: {error}')
        layouts = '\n'.join(f'  {name}: {get_layout(name).summary}' for name in NAMES)
        refusal.add_note(f'Name the layout with --layout NAME, if it is one of\n{layouts}')
        raise refusal from error
    return class_maps, class_maps.summary
