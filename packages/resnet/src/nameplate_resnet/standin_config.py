"""What stands in for `nameplate_config` where a checkpoint of this package is loaded by Transformers alone.

It lies beside published checkpoints; `config_core` takes it if the core is not installed. A config then is one of
Transformers, with the fields and defaults of the class. What only the core does is left out here: values are not
checked, files of other libraries are not read, and what a class says about that stands for nothing.
"""

import copy
import inspect
from dataclasses import dataclass
from typing import Any, ClassVar

import transformers


class PreTrainedConfig(transformers.PreTrainedConfig):
    """A config of Transformers whose fields are the annotated attributes of the class, as in the core.

    Lists become tuples, since a field of ours is never a list, and dicts become the config that a field holds.
    """

    defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        theirs = transformers.PreTrainedConfig.__dataclass_fields__
        own = [name for name in inspect.get_annotations(cls) if name in vars(cls) and name not in theirs]
        cls.defaults = {**cls.defaults, **{name: vars(cls)[name] for name in own}}
        cls.__annotations__ = {}  # else Transformers makes fields of its own of them, which it checks differently
        super().__init_subclass__(**kwargs)

    def __post_init__(self, **values: Any) -> None:
        named = {self.attribute_map.get(name, name): each for name, each in values.items()}
        fields = {name: named.pop(name, copy.deepcopy(default)) for name, default in self.defaults.items()}
        for name, value in fields.items():
            setattr(self, name, value)
        super().__post_init__(**named)
        self._name_labels()

    def copy(self, **changes: Any) -> Any:
        """Return a config of which some fields differ."""
        return type(self)(**{**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Return the values as a file holds them; of a config inside this one only its fields, as the core does."""
        nested = {name: each for name, each in vars(self).items() if isinstance(each, PreTrainedConfig)}
        own = {name: {field: getattr(each, field) for field in each.defaults} for name, each in nested.items()}
        return {**super().to_dict(), **own}

    def __setattr__(self, key: str, value: Any) -> None:
        if key in self.defaults:
            value = _decoded(value, self.defaults[key])
        super().__setattr__(key, value)
        if self.attribute_map.get(key, key) == self.attribute_map.get("num_labels"):
            self._name_labels()
        elif key == "id2label" and value and "_post_init_done" in vars(self):
            super().__setattr__("label2id", {label: index for index, label in value.items()})
            super().__setattr__("num_labels", len(value))

    def _name_labels(self) -> None:
        """Number the labels if there are none for each class: pipelines ask for them."""
        count = vars(self).get(self.attribute_map.get("num_labels", ""))
        if count is not None and len(vars(self).get("id2label") or ()) != count:
            self.id2label = {index: f"LABEL_{index}" for index in range(count)}
            self.label2id = {label: index for index, label in self.id2label.items()}


class BackboneConfigMixin(PreTrainedConfig):
    """A config that says which stages a backbone answers: by name, by number, or else the last one."""

    def __post_init__(self, **values: Any) -> None:
        stages = {name: values.pop(name) for name in ("out_features", "out_indices") if values.get(name) is not None}
        super().__post_init__(**values)
        for name, value in stages.items():
            setattr(self, name, value)

    @property
    def out_indices(self) -> tuple[int, ...]:
        """The numbers of the stages."""
        return tuple(vars(self).get("out_indices") or (len(self.stage_names) - 1,))

    @out_indices.setter
    def out_indices(self, value: Any) -> None:
        vars(self)["out_indices"] = value and tuple(value)

    @property
    def out_features(self) -> tuple[str, ...]:
        """The names of the stages."""
        return tuple(self.stage_names[index] for index in self.out_indices)

    @out_features.setter
    def out_features(self, value: Any) -> None:
        self.out_indices = value and tuple(self.stage_names.index(name) for name in value)


class NameplateError(Exception):
    """Anything that the code of a checkpoint refuses to do."""


class ConfigError(NameplateError, ValueError):
    """Values that a config cannot hold."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one value; see the core."""

    path: str
    expected: str
    found: str = ""
    hint: str = ""


class Mark:
    """Stands for what only the core reads: bounds and conditions of fields, formats of other libraries."""

    def __init__(self, *values: Any, **options: Any) -> None:
        """Take whatever the core's own takes."""


ForeignFormat = Ge = Gt = Le = OnlyWhen = Tiny = fields = Mark


def sentences(*parts: str) -> str:
    """Join the parts of a message that are not empty."""
    return "\n  ".join(part for part in parts if part)


def listed(names: Any, *, limit: int = 5) -> str:
    """Join names for a message."""
    return ", ".join(map(str, [*names][:limit]))


def did_you_mean(name: str, known: Any) -> str:
    """Return no suggestion."""
    del name, known
    return ""


shown = repr


def _decoded(value: Any, default: Any) -> Any:
    if isinstance(value, dict) and isinstance(default, PreTrainedConfig):
        return type(default)(**value)
    return tuple(_decoded(each, None) for each in value) if isinstance(value, list) else value
