"""The flags of a recipe in groups, so that `--help` begins with what most people set.

tyro shows one box of flags for each dataclass. A recipe is one dataclass of forty fields, some of
which few people change; its `GROUPS` say which. Instead of a config, tyro is shown a view of it,
whose recipe is split into one dataclass for each group.
"""

import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro

RECIPE = "recipe"
HIDDEN = ("about", "source")  # descriptions of a recipe, which are no settings


@dataclass(frozen=True)
class Whole:
    """Converts a config to the view of it that tyro is shown, and back.

    Attributes:
        config_type: the type of the config.
        view: what tyro is shown.
        parts: for each group, the name of its field in the view, and its type.
    """

    config_type: type[Any]
    view: type[Any]
    parts: Mapping[str, type[Any]]

    def shown(self, config: Any) -> Any:
        """A config as the view of it."""
        recipe = getattr(config, RECIPE)
        values = {name: _taken(part, recipe) for name, part in self.parts.items()}
        others = [field.name for field in dataclasses.fields(config) if field.name != RECIPE]
        return self.view(**values, **{name: getattr(config, name) for name in others})

    def config(self, view: Any, default: Any) -> Any:
        """The config that a view shows; what it hides is the default's.

        Raises: InputError, as the config does.
        """
        changes = {}
        for name, part in self.parts.items():
            for field in dataclasses.fields(part):
                changes[field.name] = getattr(getattr(view, name), field.name)
        values = {RECIPE: dataclasses.replace(getattr(default, RECIPE), **changes)}
        for field in dataclasses.fields(default):
            if field.name != RECIPE:
                values[field.name] = getattr(view, field.name)
        return self.config_type(**values)


def grouped(default: Any) -> Whole | None:
    """What tyro is shown in place of `default`; None without a recipe that has groups."""
    recipe = getattr(default, RECIPE, None)
    groups: Mapping[str, tuple[str, ...]] = getattr(recipe, "GROUPS", {})
    if not groups:
        return None
    of_recipe = {
        field: shown for field, shown in _fields(type(recipe)).items() if field not in HIDDEN
    }
    placed = [field for fields in groups.values() for field in fields]
    others = [field for field in of_recipe if field not in placed]
    fields_of = {RECIPE: (), **groups}
    fields_of[RECIPE] = (*fields_of[RECIPE], *others)
    parts = {
        name: dataclasses.make_dataclass(
            name, [(field, of_recipe[field]) for field in fields], frozen=True
        )
        for name, fields in fields_of.items()
    }
    for part in parts.values():
        part.__doc__ = ""
    of_config = {field: shown for field, shown in _fields(type(default)).items() if field != RECIPE}
    in_box: Any = tyro.conf.OmitArgPrefixes
    boxes = [(name, in_box[part]) for name, part in parts.items()]
    view = dataclasses.make_dataclass(
        type(default).__name__, [*boxes, *of_config.items()], frozen=True
    )
    return Whole(type(default), view, parts)


def _taken(part: type[Any], recipe: Any) -> Any:
    return part(**{field.name: getattr(recipe, field.name) for field in dataclasses.fields(part)})


def _fields(config: type[Any]) -> dict[str, Any]:
    """Each field's type with its docstring as tyro's help, unless the type has help itself."""
    hints, documented = get_type_hints(config, include_extras=True), _docstrings(config)
    types: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        shown = hints[field.name]
        if field.name in documented and not _has_own_help(shown):
            shown = Annotated[shown, tyro.conf.arg(help=documented[field.name])]
        types[field.name] = shown
    return types


def _has_own_help(shown: Any) -> bool:
    """Whether a type has help of its own: a dataclass, or an annotated type with help."""
    inner, *options = get_args(shown) if get_origin(shown) is Annotated else (shown,)
    return dataclasses.is_dataclass(inner) or any(
        getattr(option, "help", None) for option in options
    )


def _docstrings(config: type[Any]) -> dict[str, str]:
    """Field -> the docstring below it, of the class itself or of its nearest base."""
    texts: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        if not dataclasses.is_dataclass(base):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for line, following in itertools.pairwise(body.body):
            match line, following:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(value=str(text))
                ):
                    texts[name] = " ".join(text.split())
    return texts
