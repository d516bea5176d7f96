"""Finds in the source of registered classes what evaluates text, imports, opens files, downloads or names types freely.

The audit reads syntax trees. It starts at the methods of a class, follows the functions, methods and constructors of
the same family of packages that they call, and reports calls that a checkpoint must not be able to reach.
"""

import ast
import functools
import importlib
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator

PACKAGES = ('mmcell', 'mmcv', 'mmdet', 'mmengine', 'mmpretrain')
# Whatever these modules offer opens files, downloads, imports or runs something.
OPENING_MODULES = ('builtins.open', 'cv2.imread', 'dill', 'ftplib', 'glob', 'http', 'huggingface_hub', 'importlib',
                   'io.open', 'json.load', 'mmdet.apis', 'mmengine.config', 'mmengine.fileio', 'mmengine.hub',
                   'mmengine.runner', 'mmengine.utils.dl_utils', 'mmengine.utils.package_utils', 'mmengine.utils.path',
                   'mmpretrain.apis', 'nltk', 'numpy.fromfile', 'numpy.load', 'numpy.loadtxt', 'os.popen', 'os.system',
                   'pandas', 'pickle', 'posix', 'requests', 'runpy', 'shutil', 'socket', 'subprocess', 'tifffile',
                   'timm', 'torch.hub', 'torch.jit', 'torch.serialization', 'transformers', 'urllib', 'zipfile')
EVALUATING = ('eval', 'exec', 'compile', '__import__', 'open')
# Methods of objects whose class the syntax tree does not show.
OPENING_METHODS = ('download', 'from_pretrained', 'fromfile', 'get_bytes', 'get_local_path', 'get_text',
                   'import_module', 'imread', 'load_checkpoint', 'load_url', 'open', 'urlopen')


def audit(cls: object, methods: tuple[str, ...] | None = None) -> list[str]:
    """Returns a line per dangerous call that a registered class or function can reach; none if it is harmless.

    Args:
        cls: The class, or a function.
        methods: Names of the methods to start from. None: all of them but ``init_weights``.
    """
    return list(dict.fromkeys(_walk_all(cls, methods)))


def _walk_all(cls: object, methods: tuple[str, ...] | None) -> Iterator[str]:
    seen: set[object] = set()
    pending = [(function, cls if inspect.isclass(cls) else None) for function in _functions_of(cls, methods)]
    while pending:
        function, owner = pending.pop()
        function = inspect.unwrap(function)
        if (function, owner) in seen:
            continue
        seen.add((function, owner))
        problems, callees = _inspect_function(function, owner)
        yield from problems
        pending.extend(callees)


def _functions_of(cls: object, methods: tuple[str, ...] | None) -> Iterator[Callable]:
    if not inspect.isclass(cls):
        yield from [cls] if isinstance(cls, types.FunctionType) else []
        return
    for base in cls.__mro__:
        if not base.__module__.startswith(PACKAGES):
            continue
        for name, member in vars(base).items():
            member = getattr(member, '__func__', member)
            member = member.fget if isinstance(member, property) else member
            wanted = name != 'init_weights' if methods is None else name in methods
            if wanted and isinstance(member, types.FunctionType):
                yield member


@functools.cache
def _inspect_function(function: Callable, owner: type | None) -> tuple[list[str], list]:
    """Returns what is dangerous in a function, and the functions that it calls, with their classes."""
    problems, callees = [], []
    for node, text, name in _calls_in(function):
        problem, followed = _inspect_call(node, text, name, function, owner)
        problems += [f'{function.__module__}.{function.__qualname__}: {problem}'] if problem else []
        callees += followed
    return problems, callees


@functools.cache
def _calls_in(function: Callable) -> list[tuple[ast.Call, str, str]]:
    """Returns each call in the source of a function, with the text of the call and the name of what is called."""
    # Python 3.13 takes the text of python -c, with which workers of pytest are started, for the source of whatever was
    # evaluated from a text, for example of the methods of a named tuple.
    if function.__code__.co_filename.startswith('<'):
        return []
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return []
    return [(node, ast.unparse(node)[:90], ast.unparse(node.func)) for node in ast.walk(tree)
            if isinstance(node, ast.Call)]


def _inspect_call(node: ast.Call, text: str, name: str, function: Callable,
                  owner: type | None) -> tuple[str, list]:
    """Returns what is dangerous about a call ('' if nothing), and the functions to follow, with their classes."""
    if name == 'getattr' and len(node.args) > 1 and not isinstance(node.args[1], ast.Constant):
        root = ast.unparse(node.args[0])
        # A module that is not installed is None.
        is_missing = function.__globals__.get(root, function) is None
        if is_missing or isinstance(_resolve(root, function), types.ModuleType):
            return f'{text} takes a name from a module', []
    if _names_a_type_freely(node, name):
        return f'{text} builds a type that is not written under the key type', []
    callee = _resolve(name, function)
    if name in EVALUATING and callee in (None, *(getattr(__import__('builtins'), item) for item in EVALUATING)):
        return text, []
    if callee is None:
        is_own = name.startswith(('self.', 'cls.')) and owner is not None
        # Some descriptors cannot be read through the class.
        method = inspect.getattr_static(owner, name.partition('.')[2], None) if is_own else None
        if method is None:
            return (text if name.rpartition('.')[2] in OPENING_METHODS and '.' in name else ''), []
        method = getattr(method, '__func__', getattr(method, 'func', method))
        return '', [(method, owner)] if isinstance(method, types.FunctionType) and _is_ours(method) else []
    path = f'{getattr(callee, "__module__", "")}.{getattr(callee, "__qualname__", "")}'
    if any(path == module or path.startswith(f'{module}.') for module in OPENING_MODULES):
        return text, []
    if not _is_ours(callee):
        return '', []
    if inspect.isclass(callee):
        return '', [(constructor, callee) for constructor in _functions_of(callee, ('__init__', '__new__'))]
    return '', [(callee, None)] if isinstance(callee, types.FunctionType) else []


def _names_a_type_freely(node: ast.Call, name: str) -> bool:
    """Says whether a builder gets dict(type=X) where X is neither a text nor the entry 'type' of another dict."""
    if name.rpartition('.')[2] not in ('build', 'build_from_cfg', 'build_norm_layer', 'build_conv_layer',
                                       'build_activation_layer', 'build_plugin_layer', 'build_upsample_layer', 'get'):
        return False
    kinds = [keyword.value for argument in node.args if isinstance(argument, ast.Call)
             and ast.unparse(argument.func) in ('dict', 'ConfigDict')
             for keyword in argument.keywords if keyword.arg == 'type']
    kinds += [value for argument in node.args if isinstance(argument, ast.Dict)
              for key, value in zip(argument.keys, argument.values, strict=True)
              if isinstance(key, ast.Constant) and key.value == 'type']
    return any(isinstance(kind, ast.Name) and not kind.id[:1].isupper() for kind in kinds)


def _resolve(name: str, function: Callable) -> object:
    """Returns the object that a dotted name means in the module of a function; None if that is not known."""
    head, *rest = name.split('.')
    scope = {**vars(importlib.import_module(function.__module__)), **getattr(function, '__globals__', {})}
    found = scope.get(head, getattr(__import__('builtins'), head, None) if not rest else None)
    for part in rest:
        found = getattr(found, part, None) if found is not None else None
    return found


def _is_ours(item: object) -> bool:
    return str(getattr(item, '__module__', '')).startswith(PACKAGES)
