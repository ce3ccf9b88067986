"""The flags of a recipe in groups, so that `--help` begins with what most people set.

tyro shows one box of flags for each dataclass. A recipe is one dataclass of forty fields, some of
which few people touch; its `GROUPS` say which. Here tyro is shown, in place of a config, one whose
recipe is cut into a dataclass for each group.
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
HIDDEN = ("about", "source")  # what a recipe says of itself; no setting


@dataclass(frozen=True)
class Whole:
    """How a config and what tyro is shown in its place become each other.

    Attributes:
        config_type, recipe_type: of the config and its recipe.
        view: what tyro is shown.
        parts: for each group, the name of its field in the view, and its type.
    """

    config_type: type[Any]
    recipe_type: type[Any]
    view: type[Any]
    parts: Mapping[str, type[Any]]

    def shown(self, config: Any) -> Any:
        """A config as the view of it."""
        recipe = getattr(config, RECIPE)
        values = {name: _taken(part, recipe) for name, part in self.parts.items()}
        own = [field.name for field in dataclasses.fields(config) if field.name != RECIPE]
        return self.view(**values, **{name: getattr(config, name) for name in own})

    def config(self, view: Any, default: Any) -> Any:
        """The config that a view shows; what it hides is the default's.

        Raises: InputError, as the config does.
        """
        changes = {
            field.name: getattr(getattr(view, name), field.name)
            for name, part in self.parts.items()
            for field in dataclasses.fields(part)
        }
        recipe = dataclasses.replace(getattr(default, RECIPE), **changes)
        own = [field.name for field in dataclasses.fields(default) if field.name != RECIPE]
        return self.config_type(**{RECIPE: recipe}, **{name: getattr(view, name) for name in own})


def grouped(default: Any) -> Whole | None:
    """What to show tyro in place of a config like this one; None if its recipe, or it, has no
    groups.
    """
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
    own = {field: shown for field, shown in _fields(type(default)).items() if field != RECIPE}
    boxes = [(name, tyro.conf.OmitArgPrefixes[part]) for name, part in parts.items()]  # type: ignore[misc, valid-type]
    view = dataclasses.make_dataclass(type(default).__name__, [*boxes, *own.items()], frozen=True)
    return Whole(type(default), type(recipe), view, parts)


def _taken(part: type[Any], recipe: Any) -> Any:
    return part(**{field.name: getattr(recipe, field.name) for field in dataclasses.fields(part)})


def _fields(config: type[Any]) -> dict[str, Any]:
    """Each field's type with its docstring as tyro's help; dataclasses within keep their own."""
    hints, documented = get_type_hints(config, include_extras=True), _docstrings(config)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        shown = hints[field.name]
        if field.name in documented and not _has_own_help(shown):
            shown = Annotated[shown, tyro.conf.arg(help=documented[field.name])]
        found[field.name] = shown
    return found


def _has_own_help(shown: Any) -> bool:
    """Whether a type is a dataclass, whose fields have helps of their own, or says its help
    itself.
    """
    inner, *options = get_args(shown) if get_origin(shown) is Annotated else (shown,)
    return dataclasses.is_dataclass(inner) or any(
        getattr(option, "help", None) for option in options
    )


def _docstrings(config: type[Any]) -> dict[str, str]:
    """Field -> the string below it, in the class itself or in the nearest of those that it comes
    from.
    """
    found: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        if not dataclasses.is_dataclass(base):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for line, following in itertools.pairwise(body.body):
            match line, following:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(value=str(said))
                ):
                    found[name] = " ".join(said.split())
    return found
