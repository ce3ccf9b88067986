"""What tyro is shown in place of a config.

A view has the config's fields, with three differences. A recipe, which is one dataclass of forty
fields, is split into one dataclass for each of its `GROUPS`, so that tyro's boxes of flags begin
with what most people set. `--recipe` is one of the flags. A flag that is empty by default is
optional, where tyro would write `(default: )`.

The config itself is made from the view after tyro has read the command line. So an InputError of
its `__post_init__` reaches the user as it is; tyro would take it for an error of its own.
"""

import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import tyro

RECIPE = "recipe"
HIDDEN = ("about", "source")  # descriptions of a recipe, which are no settings


@dataclass(frozen=True)
class View:
    """A dataclass for tyro, and how it becomes a config.

    Attributes:
        config_type: the type of the config.
        default: the config that gives the defaults; None for those of its type.
        shown: what tyro is shown.
        groups: for each group of the recipe, the name of its field in the view, and its type.
    """

    config_type: type[Any]
    default: Any
    shown: type[Any]
    groups: Mapping[str, type[Any]]

    def config(self, given: Any) -> Any:
        """The config that a view shows; what it hides is the default's.

        Raises: InputError, as the config does.
        """
        values = {
            field.name: getattr(given, field.name)
            for field in dataclasses.fields(self.config_type)
            if field.name != RECIPE or not self.groups
        }
        if self.groups:
            parts = [vars(getattr(given, name)) for name in self.groups]
            changes = {name: value for part in parts for name, value in part.items()}
            values[RECIPE] = dataclasses.replace(getattr(self.default, RECIPE), **changes)
        return self.config_type(**values)


def view_of(config_type: type[Any], default: Any = None, recipes: Iterable[str] = ()) -> View:
    """What tyro is shown in place of a config.

    Args:
        default: a config that has the defaults.
        recipes: names that --recipe chooses from.
    """
    recipe = getattr(default, RECIPE, None)
    groups = _groups(recipe)
    fields: list[Any] = []
    if recipes:
        chooses = tyro.conf.arg(
            name=RECIPE,
            help="Named defaults of the other flags.",
            help_behavior_hint=f"(one of: {', '.join(recipes)})",
        )
        fields.append(("recipe_name", Annotated[str, chooses], dataclasses.field(default="")))
    in_box: Any = tyro.conf.OmitArgPrefixes
    for name, group in groups.items():
        of_group = group(**{f.name: getattr(recipe, f.name) for f in dataclasses.fields(group)})
        fields.append((name, in_box[group], dataclasses.field(default=of_group)))
    fields += [field for field in _fields(config_type, default) if field[0] != RECIPE or not groups]
    shown = dataclasses.make_dataclass(config_type.__name__, fields, frozen=True, kw_only=True)
    return View(config_type, default, shown, groups=groups)


def _groups(recipe: Any) -> dict[str, type[Any]]:
    """For each group of a recipe, a dataclass of its fields; those that no group names are in the
    group `recipe`. Empty without a recipe that has groups.
    """
    named: Mapping[str, tuple[str, ...]] = getattr(recipe, "GROUPS", {})
    if not named:
        return {}
    fields = {field[0]: field for field in _fields(type(recipe), recipe) if field[0] not in HIDDEN}
    placed = [name for names in named.values() for name in names]
    others = [name for name in fields if name not in placed]
    groups = {RECIPE: (), **named}
    groups[RECIPE] = (*groups[RECIPE], *others)
    types = {
        title: dataclasses.make_dataclass(
            title, [fields[name] for name in names], frozen=True, kw_only=True
        )
        for title, names in groups.items()
    }
    for group in types.values():
        group.__doc__ = ""
    return types


def _fields(config_type: type[Any], default: Any) -> list[tuple[str, Any, Any]]:
    """Each field as `make_dataclass` takes it, its docstring as tyro's help."""
    hints, documented = get_type_hints(config_type, include_extras=True), _docstrings(config_type)
    fields = []
    for field in dataclasses.fields(config_type):
        value = field.default if default is None else getattr(default, field.name)
        shown = hints[field.name]
        own = getattr(shown, "__metadata__", ())
        is_box = dataclasses.is_dataclass(getattr(shown, "__origin__", shown))
        has_help = any(getattr(option, "help", None) for option in own)
        has_hint = any(getattr(option, "help_behavior_hint", None) for option in own)
        hint = None
        if not has_hint and value in (None, "", ()):
            hint = "(optional)"
        elif value in (dataclasses.MISSING, tyro.MISSING):
            hint = "(required)"  # tyro says so itself, except of several positional arguments
        if not is_box:
            help = None if has_help else documented.get(field.name)
            shown = Annotated[shown, tyro.conf.arg(help=help, help_behavior_hint=hint)]
        fields.append((field.name, shown, dataclasses.field(default=value)))
    return fields


def _docstrings(config: type[Any]) -> dict[str, str]:
    """Field -> the docstring below it, of the class itself or of its nearest base."""
    texts: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            source = inspect.getsource(base)
        except OSError:  # an installation without sources: no help, but the program runs
            continue
        (body,) = ast.parse(textwrap.dedent(source)).body
        assert isinstance(body, ast.ClassDef)
        for line, following in itertools.pairwise(body.body):
            match line, following:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(value=str(text))
                ):
                    texts[name] = " ".join(text.split())
    return texts
