"""Configs as their authors write them and their users hold them: built, assigned, compared, saved and loaded."""

import copy
import json
import pickle
import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge

from nameplate_config import (
    MISSING,
    ConfigError,
    ConfigFileError,
    OnlyWhen,
    PreTrainedConfig,
    Problem,
    Tiny,
    UnknownOptionError,
    UnsafePathError,
    config_from_values,
    fields,
    refuse_unknown_fields,
)


class Block(PreTrainedConfig):
    """A config with annotated fields."""

    model_type = "block"

    layers: tuple[int, ...] = (2, 2)
    width: Annotated[int, Ge(1)] = 8
    activation: Literal["relu", "gelu"] = "relu"
    dropout: float = 0.0


class Plain(PreTrainedConfig):
    """A config in the style of the seed, which calls `super().__init__` last."""

    model_type = "plain"

    def __init__(self, layers=[3, 4], width=8, **kwargs):  # noqa: B006 - what users write
        self.layers = layers
        self.width = width
        super().__init__(**kwargs)


class SuperFirst(PreTrainedConfig):
    """The same, calling `super().__init__` first."""

    model_type = "plain"

    def __init__(self, layers=(3, 4), width=8, **kwargs):
        super().__init__(**kwargs)
        self.layers = layers
        self.width = width


class SuperForgotten(PreTrainedConfig):
    """The same, without calling `super().__init__`."""

    model_type = "plain"

    def __init__(self, layers=(3, 4), width=8, **kwargs):  # noqa: ARG002 - forgotten too
        self.layers = layers
        self.width = width


class MyModelConfig(PreTrainedConfig):
    """The class of the second seed document, as it stands there."""

    model_type = "my_model"
    attribute_map = {"hidden_size": "d_model"}  # noqa: RUF012

    def __init__(self, hidden_size=768, **kwargs):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size


class Stage(PreTrainedConfig):
    """A config that others hold."""

    depth: int = 1
    ratio: float = 1.0


class Outer(PreTrainedConfig):
    """A config that holds another."""

    stage: Stage = Stage()
    extra_stages: list[Stage] = field(default_factory=list)
    head: Stage | None = None


PLAIN_STYLES = [Plain, SuperFirst, SuperForgotten]


# ---- annotated fields


def test_annotated_fields_have_their_defaults():
    """A config built without arguments holds its class's defaults."""
    config = Block()

    assert (config.layers, config.width, config.activation, config.dropout) == ((2, 2), 8, "relu", 0.0)


def test_annotated_fields_take_keywords():
    """A keyword argument sets the field of its name."""
    config = Block(width=16, activation="gelu")

    assert (config.width, config.activation, config.layers) == (16, "gelu", (2, 2))


def test_values_become_the_annotated_type():
    """A list is a tuple where the field is one, and an integer a float."""
    config = Block(layers=[3, 4], dropout=1)

    assert (config.layers, type(config.dropout)) == ((3, 4), float)


def test_arguments_have_names():
    """A positional argument is refused with the value that lacks its name."""
    with pytest.raises(UnknownOptionError) as caught:
        Block(16)

    assert str(caught.value) == "Block takes keyword arguments only, found 16 without a name."


def test_dataclass_defaults_are_defaults():
    """`dataclasses.field` may hold a default, or none."""

    class Fielded(PreTrainedConfig):
        width: int = field(default=8)
        depth: int = field()

    assert [(each.name, each.default) for each in fields(Fielded)] == [("width", 8), ("depth", MISSING)]
    assert repr(MISSING) == "<required>"


def test_a_field_without_default_must_be_given():
    """Leaving out a field that has no default names the field and what it accepts."""

    class Required(PreTrainedConfig):
        width: int

    with pytest.raises(ConfigError) as caught:
        Required()

    assert str(caught.value) == "Required: 1 problem.\n  width: expected an int, and it has no default"


def test_class_variables_are_no_fields():
    """A `ClassVar` and an underscored name belong to the class: neither is saved."""

    class Constant(PreTrainedConfig):
        stride: ClassVar[int] = 32
        _cache: int = 0
        width: int = 8

    assert [each.name for each in fields(Constant)] == ["width"]


def test_dataclass_factories_are_defaults():
    """`dataclasses.field(default_factory=…)` gives each config a value of its own."""
    first, second = Outer(), Outer()
    first.extra_stages.append(Stage())

    assert second.extra_stages == []


def test_an_annotation_that_no_file_can_carry_is_refused():
    """A field of a type that has no codec is an error that says what to use."""

    class Strange(PreTrainedConfig):
        value: complex = 1j

    with pytest.raises(ConfigError) as caught:
        Strange()

    assert str(caught.value) == (
        "Strange.value: no codec for the annotation <class 'complex'>. "
        "Use types that a config file can carry, or a ClassVar."
    )


def test_an_annotation_that_cannot_be_resolved_is_refused():
    """A misspelt name in a quoted annotation is an error that names the field."""

    class Quoted(PreTrainedConfig):
        value: "Nowhere" = 1  # noqa: F821

    with pytest.raises(ConfigError) as caught:
        Quoted()

    assert str(caught.value) == (
        "Quoted.value: the annotation 'Nowhere' cannot be resolved: name 'Nowhere' is not defined."
    )


def test_a_quoted_annotation_is_resolved():
    """A quoted annotation means what it would mean without quotes."""

    class Quoted(PreTrainedConfig):
        layers: "tuple[int, ...]" = (1,)

    assert Quoted(layers=[2, 3]).layers == (2, 3)


def test_a_default_must_fit_its_annotation():
    """A default of the wrong type is an error of the class."""

    class Wrong(PreTrainedConfig):
        width: int = "8"

    with pytest.raises(ConfigError) as caught:
        Wrong()

    assert str(caught.value) == ("the default of Wrong.width: 1 problem.\n  width: expected an int, found '8'")


def test_fields_describe_the_class():
    """`fields` lists what the class declares, with defaults and marks, not what every config has."""

    class Marked(PreTrainedConfig):
        name: str
        width: Annotated[int, Ge(1), Tiny(4, 8)] = 8

    described = [(each.name, each.default, each.required, each.marks) for each in fields(Marked)]

    assert described == [("name", MISSING, True, ()), ("width", 8, False, (Ge(1), Tiny(4, 8)))]


# ---- a plain __init__


@pytest.mark.parametrize("style", PLAIN_STYLES)
def test_parameters_are_fields(style):
    """The parameters of a plain `__init__` are fields, wherever it calls `super().__init__`, or if it forgets."""
    config = style(layers=[5], width=16)

    assert [each.name for each in fields(style)] == ["layers", "width"]
    assert (list(config.layers), config.width) == ([5], 16)


@pytest.mark.parametrize("style", PLAIN_STYLES)
def test_plain_configs_round_trip(style):
    """A plain config comes back from its dict as it was."""
    config = style(layers=[5], width=16, architectures=["Net"])

    assert style.from_dict(config.to_dict()) == config
    assert style.from_dict(config.to_dict()).architectures == ["Net"]


@pytest.mark.parametrize("style", PLAIN_STYLES)
def test_plain_configs_keep_further_arguments(style):
    """What `**kwargs` takes becomes an attribute and is saved, wherever `super().__init__` is called."""
    config = style(note="from the lab")

    assert config.note == "from the lab"
    assert config.to_dict()["note"] == "from the lab"


def test_a_near_miss_is_warned_about_once():
    """An argument of `**kwargs` that looks misspelt is kept, with one warning at the caller's line."""
    with pytest.warns(UserWarning, match="widht") as record:
        config = Plain(widht=16)

    assert [str(each.message) for each in record] == [
        "Plain has no field 'widht'; it is kept as an extra. Did you mean 'width'?"
    ]
    assert record[0].filename == __file__
    assert (config.widht, config.width) == (16, 8)


def test_the_type_of_a_bare_default_comes_back():
    """A parameter without annotation is restored as the type of its default."""
    config = SuperFirst(layers=(1, 2))

    assert SuperFirst.from_dict(json.loads(json.dumps(config.to_dict()))).layers == (1, 2)


def test_annotated_parameters_are_checked():
    """The annotation of a parameter is checked as that of a field is."""

    class Checked(PreTrainedConfig):
        def __init__(self, width: int = 8, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.width = width

    with pytest.raises(ConfigError) as caught:
        Checked(width="8")

    assert str(caught.value) == "Checked: 1 problem.\n  width: expected an int, found '8'"


def test_init_may_change_what_it_is_given():
    """The value that `__init__` assigns is the one that counts, and only it must fit."""

    class Lenient(PreTrainedConfig):
        def __init__(self, layers: tuple[int, ...] = (1,), **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.layers = (layers, layers) if isinstance(layers, int) else layers

    assert Lenient(layers=3).layers == (3, 3)
    assert Lenient.from_dict({"layers": 3}).layers == (3, 3)


def test_init_sees_restored_values():
    """A plain `__init__` gets from a file the types that it was given when the config was saved."""
    seen = []

    class Looking(PreTrainedConfig):
        def __init__(self, layers: tuple[int, ...] = (1,), stage: Stage | None = None, **kwargs: Any) -> None:
            seen.append((type(layers), type(stage)))
            super().__init__(**kwargs)

    Looking.from_dict(Looking(layers=(2,), stage=Stage()).to_dict())

    assert seen == [(tuple, Stage), (tuple, Stage)]


def test_a_required_parameter_must_be_given():
    """Leaving out a parameter without default is the same error as for a field, from code and from a file."""

    class Required(PreTrainedConfig):
        def __init__(self, width: int, depth: int = 1, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.width = width
            self.depth = depth

    text = (
        "Required: 2 problems.\n  width: expected an int, and it has no default\n  depth: expected an int, found 'deep'"
    )
    with pytest.raises(ConfigError) as from_code:
        Required(depth="deep")
    with pytest.raises(ConfigError) as from_file:
        Required.from_dict({"depth": "deep"})

    assert (str(from_code.value), str(from_file.value)) == (text, text)


def test_a_value_error_of_init_is_a_config_error():
    """What `__init__` raises about its arguments is a `ConfigError` that keeps the cause."""

    class Strict(PreTrainedConfig):
        def __init__(self, block_type="bottleneck", **kwargs):
            if block_type not in {"basic", "bottleneck"}:
                message = "`block_type` must be 'basic' or 'bottleneck'"
                raise ValueError(message)
            super().__init__(**kwargs)

    with pytest.raises(ConfigError) as caught:
        Strict(block_type="round")

    assert str(caught.value) == "Strict: 1 problem.\n  __init__: `block_type` must be 'basic' or 'bottleneck'"
    assert type(caught.value.__cause__) is ValueError


def test_no_builtin_error_leaves_a_file():
    """A value that makes a plain `__init__` fail is a `ConfigError` when it comes from a file."""

    class Halving(PreTrainedConfig):
        def __init__(self, width=8, **kwargs):
            super().__init__(**kwargs)
            self.half = width // 2

    with pytest.raises(ConfigError) as caught:
        Halving.from_dict({"width": None})

    assert str(caught.value) == (
        "Halving: 1 problem.\n  __init__: TypeError: unsupported operand type(s) for //: 'NoneType' and 'int'"
    )


def test_an_error_of_ours_leaves_init_as_it_is():
    """A `ConfigError` that `__init__` raises, as of another config that it builds, is not wrapped."""

    class Building(PreTrainedConfig):
        def __init__(self, depth=1, **kwargs):
            super().__init__(**kwargs)
            self.stage = Stage(depth=depth)

    with pytest.raises(ConfigError) as caught:
        Building.from_dict({"depth": "deep"})

    assert str(caught.value) == "Stage: 1 problem.\n  depth: expected an int, found 'deep'"


def test_a_bug_in_init_is_not_hidden():
    """An error other than `ValueError` that `__init__` raises on arguments from code reaches the caller as it is."""

    class Broken(PreTrainedConfig):
        def __init__(self, width=8, **kwargs):
            super().__init__(**kwargs)
            self.half = width // 0

    with pytest.raises(ZeroDivisionError):
        Broken()


def test_derived_attributes_are_not_saved():
    """An attribute that `__init__` computes is readable and writable, but belongs to no file."""

    class Derived(PreTrainedConfig):
        def __init__(self, width=8, **kwargs):
            super().__init__(**kwargs)
            self.width = width
            self.area = width * width

    config = Derived(width=4)
    config.area = 17

    assert config.area == 17
    assert config.to_dict() == {"width": 4}


# ---- inheritance and mixing


def test_subclasses_add_fields():
    """A subclass has the fields of its base, in order, and its own."""

    class Wider(Block):
        depth: int = 1

    assert [each.name for each in fields(Wider)] == ["layers", "width", "activation", "dropout", "depth"]
    assert Wider.from_dict(Wider(width=3, depth=2).to_dict()) == Wider(width=3, depth=2)


def test_subclasses_change_defaults_by_annotation():
    """A subclass that annotates a field again gives it another default."""

    class Wider(Block):
        width: int = 64

    assert (Wider().width, Block().width) == (64, 8)


def test_subclasses_change_defaults_without_annotation():
    """A class attribute without annotation gives an inherited field another default, and keeps its type."""

    class Wider(Block):
        width = 64

    assert Wider().width == 64
    assert Wider.from_dict({"width": 3}).width == 3
    with pytest.raises(ConfigError, match=re.escape("width: expected an int and at least 1, found 0")):
        Wider(width=0)


def test_subclasses_narrow_a_type_and_keep_the_default():
    """A field that is annotated again without a value keeps its default, as in a dataclass."""

    class Narrow(Block):
        width: Annotated[int, Ge(8)]

    assert Narrow().width == 8
    with pytest.raises(ConfigError, match=re.escape("width: expected an int and at least 8, found 7")):
        Narrow(width=7)


def test_a_property_is_no_default():
    """A property that hides an inherited field is left alone."""

    class Fixed(Block):
        @property
        def width(self):
            return 3

    assert Fixed().width == 3


def test_a_plain_class_may_extend_an_annotated_one():
    """A plain `__init__` adds its parameters to the annotated fields of its base."""

    class Mixed(Block):
        def __init__(self, depth=2, **kwargs):
            super().__init__(**kwargs)
            self.depth = depth

    config = Mixed(depth=3, width=16)

    assert (config.depth, config.width) == (3, 16)
    assert Mixed.from_dict(config.to_dict()) == config


def test_a_plain_class_without_kwargs_keeps_inherited_fields():
    """Fields that a closed `__init__` does not take can still be given and are restored."""

    class Closed(Block):
        def __init__(self, depth=2):
            super().__init__()
            self.depth = depth

    config = Closed(depth=3, width=16)

    assert (config.depth, config.width) == (3, 16)
    assert Closed.from_dict(config.to_dict()) == config


def test_an_annotated_class_may_extend_a_plain_one():
    """An annotated field adds to, and overrides, the parameters of a plain base."""

    class Typed(Plain):
        width: int = 64
        depth: int = 1

    assert (Typed().width, Typed().depth, Typed(width=3).width) == (64, 1, 3)
    assert Typed.from_dict(Typed(width=3, depth=2).to_dict()) == Typed(width=3, depth=2)


def test_a_class_attribute_changes_the_default_of_a_parameter():
    """A class attribute of a subclass gives a base's parameter another default."""

    class Wider(Plain):
        width = 64

    assert Wider().width == 64


def test_plain_classes_extend_each_other():
    """Values for an inner `__init__` travel through the `**kwargs` of the outer one."""

    class Deeper(SuperFirst):
        def __init__(self, depth=2, **kwargs):
            super().__init__(**kwargs)
            self.depth = depth

    config = Deeper(depth=3, layers=(1,), width=16)

    assert (config.depth, config.layers, config.width) == (3, (1,), 16)
    assert Deeper.from_dict(config.to_dict()) == config


def test_a_parameter_that_is_declared_again_keeps_its_kind():
    """A subclass that names a bare parameter again restores it as before."""

    class Again(SuperFirst):
        def __init__(self, layers=(9,), **kwargs):
            super().__init__(layers=layers, **kwargs)

    assert (Again().layers, Again.from_dict({"layers": [1]}).layers) == ((9,), (1,))


def test_a_subclass_may_fix_a_default_of_every_config():
    """A field that every config has is saved if the class gives it a value of its own."""

    class Half(PreTrainedConfig):
        dtype = "bfloat16"

    assert Half().to_dict() == {"dtype": "bfloat16"}


# ---- no aliasing


def test_defaults_are_copied():
    """Changing a list of one config changes neither the next one nor the class."""
    Plain().layers.append(9)

    assert Plain().layers == [3, 4]


def test_annotated_defaults_are_copied():
    """Changing a nested config of one config does not change the next one."""
    Outer().stage.depth = 9

    assert Outer().stage.depth == 1


def test_arguments_are_copied():
    """Changing an argument afterwards does not change the config."""
    layers = [1, 2]
    stage = Stage()
    plain, outer = Plain(layers=layers), Outer(stage=stage)
    layers.append(3)
    stage.depth = 9

    assert (plain.layers, outer.stage.depth) == ([1, 2], 1)


def test_assigned_values_are_copied():
    """Changing a value after its assignment does not change the config."""
    layers = [1, 2]
    config = Plain()
    config.layers = layers
    layers.append(3)

    assert config.layers == [1, 2]


def test_from_dict_leaves_its_argument_alone():
    """`from_dict` neither changes its argument nor shares anything with the config."""
    values = {"model_type": "plain", "layers": [1], "note": {"deep": [1]}, "id2label": {"0": "cat"}}
    before = copy.deepcopy(values)
    config = Plain.from_dict(values)
    config.layers.append(2)
    config.note["deep"].append(2)

    assert values == before


def test_to_dict_gives_fresh_values():
    """Changing what `to_dict` returned does not change the config."""
    config = Plain.from_dict({"note": {"deep": [1]}})
    values = config.to_dict()
    values["layers"].append(9)
    values["note"]["deep"].append(9)

    assert (config.layers, config.note) == ([3, 4], {"deep": [1]})


def test_a_shallow_copy_shares_nothing():
    """`copy.copy` gives a config of its own: assigning to it, or changing its lists, leaves the first alone."""
    config = Plain(note="kept")
    other = copy.copy(config)
    other.note = "changed"
    other.layers.append(9)

    assert (config.note, config.layers) == ("kept", [3, 4])


# ---- aliases


@pytest.mark.parametrize("name", ["hidden_size", "d_model"])
def test_an_alias_never_loses_a_value(name):
    """The second seed's config keeps its value through a file, given under either name."""
    config = MyModelConfig(**{name: 512})
    loaded = MyModelConfig.from_dict(config.to_dict())

    assert (config.hidden_size, config.d_model) == (512, 512)
    assert (loaded.hidden_size, loaded.d_model) == (512, 512)


def test_files_hold_the_fields_own_name():
    """A file names the field, not its alias."""
    assert MyModelConfig(hidden_size=512).to_dict() == {"model_type": "my_model", "d_model": 512}


@pytest.mark.parametrize("name", ["hidden_size", "d_model"])
def test_aliases_can_be_assigned(name):
    """Assigning to either name sets both."""
    config = MyModelConfig()
    setattr(config, name, 640)

    assert (config.hidden_size, config.d_model) == (640, 640)


def test_an_alias_can_override():
    """`from_dict` takes an override under the alias."""
    assert MyModelConfig.from_dict({"d_model": 512}, hidden_size=640).d_model == 640


def test_an_alias_of_a_base_class_survives_another_init():
    """A subclass with its own `__init__` keeps a value given under the alias of its base."""

    class Deeper(MyModelConfig):
        def __init__(self, depth=2, **kwargs):
            super().__init__(**kwargs)
            self.depth = depth

    config = Deeper(hidden_size=512)

    assert (config.d_model, Deeper.from_dict(config.to_dict()).d_model) == (512, 512)


def test_an_annotated_field_may_have_an_alias():
    """`attribute_map` works on annotated fields alike."""

    class Aliased(PreTrainedConfig):
        attribute_map = {"num_labels": "num_classes"}  # noqa: RUF012
        num_classes: int = 10

    assert (Aliased(num_labels=3).num_classes, Aliased(num_classes=4).num_labels) == (3, 4)


def test_a_class_may_define_what_its_alias_does():
    """A name in `attribute_map` that the class defines itself is left to the class."""

    class Defined(PreTrainedConfig):
        attribute_map = {"hidden_size": "d_model"}  # noqa: RUF012
        d_model: int = 8

        @property
        def hidden_size(self):
            return -self.d_model

    assert Defined(hidden_size=3).hidden_size == -3


def test_a_field_and_its_alias_must_agree():
    """Giving a field and its alias different values is an error that shows both."""
    with pytest.raises(ConfigError) as caught:
        MyModelConfig(hidden_size=1, d_model=2)

    assert str(caught.value) == (
        "MyModelConfig: 1 problem.\n  d_model: expected one value, found 1 and, as 'd_model', 2"
    )


def test_a_field_and_its_alias_may_agree():
    """Giving a field and its alias the same value is no error."""
    assert MyModelConfig(hidden_size=1, d_model=1).d_model == 1


# ---- validation


def test_every_problem_is_reported_at_once():
    """One error lists the problems of all fields and elements."""
    with pytest.raises(ConfigError) as caught:
        Block(layers=(1, "2", 3, None), width=0, activation="rely", dropout="much")

    assert str(caught.value) == (
        "Block: 5 problems.\n"
        "  layers[1]: expected an int, found '2'\n"
        "  layers[3]: expected an int, found None\n"
        "  width: expected an int and at least 1, found 0\n"
        "  activation: expected one of 'relu', 'gelu', found 'rely'. Did you mean 'relu'?\n"
        "  dropout: expected a float, found 'much'"
    )
    assert [problem.path for problem in caught.value.problems] == [
        "layers[1]",
        "layers[3]",
        "width",
        "activation",
        "dropout",
    ]


def test_a_message_lists_five_problems():
    """More than five problems are counted in words; `.problems` has them all."""
    with pytest.raises(ConfigError) as caught:
        Block(layers=["a", "b", "c", "d", "e", "f", "g"])

    assert str(caught.value).splitlines()[-1] == "  and 2 more"
    assert len(caught.value.problems) == 7


def test_a_container_is_searched_to_a_hundred_problems():
    """A container with endless wrong elements yields a hundred problems, so that it costs no memory."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({"layers": ["a"] * 100_000})

    assert len(caught.value.problems) == 100


def test_a_problem_is_a_record():
    """A problem tells its place, what was expected, what was found and the way out."""
    with pytest.raises(ConfigError) as caught:
        Block(activation="rely")

    assert caught.value.problems == (Problem("activation", "one of 'relu', 'gelu'", "'rely'", "Did you mean 'relu'?"),)


def test_assigned_values_are_checked():
    """Assigning a value that does not fit raises and leaves the field as it was."""
    config = Block()
    with pytest.raises(ConfigError) as caught:
        config.width = 0

    assert str(caught.value) == "Block: 1 problem.\n  width: expected an int and at least 1, found 0"
    assert config.width == 8


def test_assigned_values_are_converted():
    """An assigned list is a tuple where the field is one."""
    config = Block()
    config.layers = [1, 2, 3]

    assert config.layers == (1, 2, 3)


class Attention(PreTrainedConfig):
    """A config whose fields depend on each other."""

    width: int = 8
    heads: int = 2

    def validate_heads(self) -> None:
        """Raise unless every head has the same width."""
        if self.width % self.heads:
            message = f"width {self.width} must be a multiple of heads {self.heads}"
            raise ValueError(message)

    def validate_sizes(self) -> Iterator[Problem]:
        """Yield what is too large."""
        if self.width > 100:
            yield Problem("width", "at most 100", str(self.width))
        if self.heads > 50:
            yield Problem("heads", "at most 50", str(self.heads))


def test_hooks_raise():
    """A `validate_*` method may raise `ValueError`; its text is the problem."""
    with pytest.raises(ConfigError) as caught:
        Attention(heads=3)

    assert str(caught.value) == "Attention: 1 problem.\n  heads: width 8 must be a multiple of heads 3"


def test_hooks_yield_problems():
    """The problems that `validate_*` methods yield are reported together."""
    with pytest.raises(ConfigError) as caught:
        Attention(width=153, heads=51)

    assert str(caught.value) == (
        "Attention: 2 problems.\n  width: expected at most 100, found 153\n  heads: expected at most 50, found 51"
    )


def test_hooks_run_on_assignment_and_roll_back():
    """An assignment that a `validate_*` method refuses leaves the field as it was."""
    config = Attention()
    with pytest.raises(ConfigError, match=re.escape("heads: width 8 must be a multiple of heads 3")):
        config.heads = 3

    assert config.heads == 2


def test_an_error_of_a_hook_rolls_back_too():
    """An assignment on which a hook fails otherwise leaves the field as it was."""
    config = Attention()
    with pytest.raises(ZeroDivisionError):
        config.heads = 0

    assert config.heads == 2


def test_hooks_are_inherited_and_overridden():
    """A subclass inherits hooks and replaces those it writes again."""

    class Loose(Attention):
        def validate_heads(self) -> None:
            """Accept any."""

    assert Loose(heads=3).heads == 3
    with pytest.raises(ConfigError, match=re.escape("width: expected at most 100, found 101")):
        Loose(width=101)


def test_a_config_error_of_a_hook_counts():
    """A hook that raises `ConfigError` without problems is heard."""

    class Refusing(PreTrainedConfig):
        def validate_all(self) -> None:
            message = "not today"
            raise ConfigError(message)

    with pytest.raises(ConfigError) as caught:
        Refusing()

    assert str(caught.value) == "Refusing: 1 problem.\n  all: not today"


def test_the_problems_of_a_config_error_of_a_hook_are_kept():
    """A hook may pass on the `ConfigError` of another config."""

    class Passing(PreTrainedConfig):
        def validate_all(self) -> None:
            Attention(heads=3)

    with pytest.raises(ConfigError) as caught:
        Passing()

    assert str(caught.value) == "Passing: 1 problem.\n  heads: width 8 must be a multiple of heads 3"


def test_a_field_called_like_a_hook_is_a_field():
    """A field whose name starts with `validate_` is not called."""

    class Distribution(PreTrainedConfig):
        validate_args: bool = True

    assert Distribution(validate_args=False).validate_args is False


class Conditional(PreTrainedConfig):
    """A config with a field that has an effect only sometimes."""

    kind: Literal["plain", "grouped", "depthwise"] = "plain"
    groups: Annotated[int, Ge(1), OnlyWhen("kind", "grouped", "depthwise")] = 1


def test_only_when_allows_the_field_in_its_place():
    """A conditional field may be set while its condition holds."""
    assert Conditional(kind="grouped", groups=4).groups == 4


def test_only_when_refuses_the_field_elsewhere():
    """A conditional field may not differ from its default while its condition does not hold."""
    with pytest.raises(ConfigError) as caught:
        Conditional(groups=4)

    assert str(caught.value) == (
        "Conditional: 1 problem.\n"
        "  groups: expected 1 while kind is 'plain', found 4. "
        "It has an effect only when kind is 'grouped' or 'depthwise'"
    )


def test_only_when_guards_assignment():
    """Taking away the condition of a field that is set is refused and rolled back."""
    config = Conditional(kind="grouped", groups=4)
    with pytest.raises(ConfigError, match=re.escape("groups: expected 1 while kind is 'plain', found 4")):
        config.kind = "plain"

    assert config.kind == "grouped"


def test_only_when_must_name_a_field():
    """A condition on a field that does not exist is an error of the class."""

    class Misspelt(PreTrainedConfig):
        kind: str = "plain"
        groups: Annotated[int, OnlyWhen("kinds", "grouped")] = 1

    with pytest.raises(ConfigError) as caught:
        Misspelt()

    assert str(caught.value) == ("Misspelt.groups: OnlyWhen names 'kinds', which is no field.\n  Did you mean 'kind'?")


# ---- names that nobody declared


def test_an_unknown_keyword_is_refused():
    """A keyword that is no field is an error with the nearest name."""
    with pytest.raises(UnknownOptionError) as caught:
        Block(widht=16)

    assert str(caught.value) == "Block has no field 'widht'.\n  Did you mean 'width'?"


def test_an_unknown_keyword_far_from_all_lists_the_fields():
    """A keyword that resembles no field is an error that lists the fields."""
    with pytest.raises(UnknownOptionError) as caught:
        Block(zzz=16)

    assert str(caught.value) == ("Block has no field 'zzz'.\n  Its fields are: layers, width, activation, dropout.")


def test_a_plain_init_without_kwargs_refuses_unknown_keywords():
    """A plain `__init__` that takes no `**kwargs` is as strict as annotated fields."""

    class Closed(PreTrainedConfig):
        def __init__(self, width=8):
            self.width = width

    with pytest.raises(UnknownOptionError) as caught:
        Closed(widht=16)

    assert str(caught.value) == "Closed has no field 'widht'.\n  Did you mean 'width'?"


def test_an_unknown_attribute_is_kept_with_a_warning_on_a_near_match():
    """Assigning to a name that looks misspelt keeps the value and warns at the caller's line."""
    config = Block()
    with pytest.warns(UserWarning, match="widht") as record:
        config.widht = 16

    assert str(record[0].message) == ("Block has no field 'widht'; it is kept as an extra. Did you mean 'width'?")
    assert record[0].filename == __file__
    assert config.to_dict()["widht"] == 16


def test_an_unknown_attribute_is_saved():
    """A new attribute is kept, may be changed, and comes back."""
    config = Block()
    config.note = "first"
    config.note = "second"

    assert Block.from_dict(config.to_dict()).note == "second"


def test_an_attribute_that_no_file_can_carry_is_refused():
    """Assigning to a new name a value that JSON cannot carry is an error."""
    config = Block()
    with pytest.raises(ConfigError) as caught:
        config.note = object

    assert str(caught.value) == (
        "Block: 1 problem.\n  note: expected a value that JSON can carry (None, bool, int, float, str, list, "
        "dict with str keys), found <class 'object'>. "
        "Annotate the field with its type so that it can be restored."
    )


def test_a_keyword_that_no_file_can_carry_is_refused():
    """What `**kwargs` takes must be something that JSON can carry."""
    with pytest.raises(ConfigError) as caught:
        Plain(note={1, 2})

    assert caught.value.problems[0].path == "note"
    assert caught.value.problems[0].found == "{1, 2}"


def test_methods_cannot_be_assigned():
    """Assigning to the name of a method is refused."""
    config = Block()
    with pytest.raises(UnknownOptionError) as caught:
        config.to_dict = 1

    assert str(caught.value) == "Block.to_dict is part of the class and cannot be assigned."


def test_an_absent_attribute_suggests_a_field():
    """Reading a misspelt name is an `AttributeError` with the nearest name."""
    with pytest.raises(AttributeError) as caught:
        _ = Block().widht

    assert str(caught.value) == "Block has no field 'widht'.\n  Did you mean 'width'?"


EXTRAS = {
    "note": "é",
    "nothing": None,
    "numbers": [0, -1, 1.5, True, [[]], {}],
    "deep": {"a": {"b": [{"c": None}]}},
    "not an identifier": 1,
    "self": 2,
    "class": 3,
    "_private": 4,
    "__float__": "Infinity",
    "tagged": {"__float__": "Infinity"},
    "only looks tagged": {"__float__": "Infinity", "more": 1},
    "not a float": {"__float__": "abc"},
}


@pytest.mark.parametrize("style", [Block, Plain, SuperFirst, SuperForgotten])
def test_unknown_keys_of_a_file_survive(style, tmp_path):
    """Keys that no field takes are saved again verbatim, whatever they hold, in either style."""
    (tmp_path / "config.json").write_text(json.dumps(EXTRAS))
    style.from_pretrained(tmp_path).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())

    assert {name: saved[name] for name in EXTRAS} == EXTRAS


def test_unknown_keys_of_a_file_can_be_read():
    """A key that no field takes is an attribute."""
    assert Block.from_dict({"note": "kept"}).note == "kept"


def test_unknown_keys_never_hide_methods():
    """A key called like a method or a special attribute is kept without touching the config's own."""
    hostile = {"to_dict": 1, "from_dict": 2, "__class__": 3, "__init__": 4, "_extras": 5, "save_pretrained": 6}
    config = Plain.from_dict(hostile)

    assert type(config) is Plain
    assert {name: config.to_dict()[name] for name in hostile} == hostile


def test_unknown_keys_never_hide_methods_where_init_sets_attributes():
    """The same holds for an `__init__` that assigns whatever it is given."""

    class Assigning(PreTrainedConfig):
        def __init__(self, **kwargs):
            for name, value in kwargs.items():
                setattr(self, name, value)

    config = Assigning.from_dict({"to_dict": 1, "note": 2})

    assert config.to_dict() == {"to_dict": 1, "note": 2}


# ---- comparing and showing


def test_equal_values_make_equal_configs():
    """Two configs of one class with the same values are equal, however they were built."""
    assert Block(layers=[1], width=3) == Block(width=3, layers=(1,))


@pytest.mark.parametrize(
    "change", [{"layers": (2,)}, {"width": 9}, {"activation": "gelu"}, {"dropout": 0.5}, {"dtype": "float16"}]
)
def test_any_change_makes_configs_differ(change):
    """Changing any one field makes a config unequal."""
    assert Block() != Block(**change)


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.0), (0.0, -0.0), ([1], [True])])
def test_equality_tells_types_apart(one, other):
    """Values that Python calls equal, but a file would not, make configs differ."""
    assert Plain(width=one) != Plain(width=other)


def test_classes_make_configs_differ():
    """Configs of different classes are not equal, nor is a config equal to its dict."""
    assert Plain() != SuperFirst()
    assert Block() != Block().to_dict()


def test_extras_make_configs_differ():
    """A config with an extra is not equal to one without."""
    assert Block.from_dict({"note": 1}) != Block()


def test_configs_have_no_hash():
    """A config can change, so it cannot be the key of a dict."""
    with pytest.raises(TypeError, match="unhashable type: 'Block'"):
        hash(Block())


def test_repr_shows_what_differs_from_the_defaults():
    """`repr` is the call that builds the config."""
    assert repr(Block(width=16, layers=(1,))) == "Block(layers=(1,), width=16)"


@pytest.mark.parametrize(
    "config",
    [
        Block(),
        Block(width=16, dropout=float("inf"), architectures=["Net"]),
        Plain(layers=[1, [2, {"a": None}]]),
        MyModelConfig(hidden_size=512),
        Outer(stage=Stage(depth=3), extra_stages=[Stage(depth=4)], head=Stage()),
        Block.from_dict({"note": {"a": [1]}, "not an identifier": float("-inf"), "width": 9}),
        Plain.from_dict({"note": 1, "layers": [5]}),
        Block(id2label={0: "cat", 1: "dog"}),
    ],
    ids=repr,
)
def test_repr_evaluates_back(config):
    """Evaluating the `repr` of a config gives an equal config."""
    assert eval(repr(config)) == config  # noqa: S307 - that is the promise


def test_a_changed_type_is_shown():
    """A value that equals the default but is of another type is part of `repr` and of the diff."""
    config = Plain(width=True)

    assert (repr(Plain(width=8.0)), config.to_diff_dict()["width"]) == ("Plain(width=8.0)", True)


def pickled(config):
    """Return what a pickle of *config* restores."""
    return pickle.loads(pickle.dumps(config))  # noqa: S301 - our own


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
def test_duplicates_are_equal(duplicate):
    """Deep copies and pickles are equal to their originals, extras and derived attributes included."""
    for config in (Plain(layers=[1], note={"deep": [1]}), Outer(head=Stage(depth=2)), MyModelConfig()):
        twin = duplicate(config)

        assert twin == config
        assert vars(twin) == vars(config)


def test_a_deep_copy_shares_nothing():
    """Changing a deep copy leaves the original alone."""
    config = Plain(note={"deep": [1]})
    twin = copy.deepcopy(config)
    twin.layers.append(9)
    twin.note["deep"].append(9)

    assert (config.layers, config.note) == ([3, 4], {"deep": [1]})


def test_a_pickled_config_is_still_checked():
    """A config that was pickled checks assignments as before."""
    config = pickled(Block())
    with pytest.raises(ConfigError, match=re.escape("width: expected an int and at least 1, found 0")):
        config.width = 0

    assert config.width == 8


# ---- dicts


def test_to_dict_is_complete():
    """A file holds every field of the class, defaults included, so that a new default does not change it."""
    assert Block().to_dict() == {
        "model_type": "block",
        "layers": [2, 2],
        "width": 8,
        "activation": "relu",
        "dropout": 0.0,
    }


def test_fields_that_every_config_has_are_saved_if_set():
    """`architectures` and its like are in the file only if they have a value."""
    assert Stage(architectures=["Net"]).to_dict() == {"architectures": ["Net"], "depth": 1, "ratio": 1.0}


def test_a_file_survives_a_change_of_defaults():
    """A file written by one version is read the same by a version in which every default has changed."""

    class Later(Block):
        layers = (9, 9)
        width = 99
        activation = "gelu"
        dropout = 0.9

    loaded = Later.from_dict(Block().to_dict())

    assert loaded.to_dict() == Block().to_dict()


def test_to_diff_dict_is_minimal_and_sufficient():
    """The diff has what differs from the defaults and the identity, and restores the config."""
    config = Block(width=16)

    assert config.to_diff_dict() == {"model_type": "block", "width": 16}
    assert Block.from_dict(config.to_diff_dict()) == config
    assert Block().to_diff_dict() == {"model_type": "block"}


def test_the_order_of_a_dict_is_kept():
    """The entries of a dict keep their order, also if only the order differs from the default."""

    class Ordered(PreTrainedConfig):
        stages: dict[str, int] = field(default_factory=lambda: {"b": 1, "a": 2})

    config = Ordered(stages={"a": 2, "b": 1})

    assert list(Ordered.from_dict(json.loads(config.to_json_string())).stages) == ["a", "b"]
    assert list(Ordered.from_dict(config.to_diff_dict()).stages) == ["a", "b"]


def test_overrides_replace_values():
    """Overrides of `from_dict` win over the values of the file, and only they change."""
    config = Block.from_dict({"width": 16, "dropout": 0.5}, width=32)

    assert config == Block(width=32, dropout=0.5)


def test_overrides_replace_extras():
    """An override may name a key of the file that is no field."""
    assert Block.from_dict({"note": "old"}, note="new").note == "new"


def test_overrides_are_checked():
    """An override that does not fit is refused like any value."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({}, width=0)

    assert str(caught.value) == "Block: 1 problem.\n  width: expected an int and at least 1, found 0"


def test_an_unknown_override_is_refused():
    """An override that names neither a field nor a key of the file is an error with a suggestion."""
    with pytest.raises(UnknownOptionError) as caught:
        Block.from_dict({}, widht=16)

    assert str(caught.value) == "Block has no field 'widht'.\n  Did you mean 'width'?"


def test_unused_overrides_are_returned():
    """With `return_unused_kwargs`, exactly the overrides that name no field come back."""
    config, unused = Block.from_dict({}, return_unused_kwargs=True, width=16, not_a_field=1)

    assert (config.width, unused) == (16, {"not_a_field": 1})


def test_another_model_type_is_refused():
    """A file of another architecture is an error that names both."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({"model_type": "plain"})

    assert str(caught.value) == (
        "Block: 1 problem.\n  model_type: expected 'block', found 'plain'. Load it with AutoConfig instead."
    )


def test_model_type_may_be_missing():
    """A file without `model_type` is read by whatever class is asked."""
    assert Block.from_dict({"width": 16}).width == 16


def test_model_type_may_be_repeated_in_code():
    """The contents of a config's dict are arguments of its class, `model_type` included."""
    config = Block(width=16)

    assert Block(**config.to_dict()) == config


def test_another_model_type_is_refused_in_code():
    """A plain class does not take the `model_type` of another for an extra."""
    with pytest.raises(ConfigError, match=re.escape("model_type: expected 'plain', found 'block'")):
        Plain(model_type="block")


def test_model_type_belongs_to_the_class():
    """An instance cannot change its `model_type`."""
    config = Block()
    with pytest.raises(UnknownOptionError) as caught:
        config.model_type = "plain"

    assert str(caught.value) == "Block.model_type is part of the class and cannot be assigned."


def test_a_class_without_model_type_keeps_that_of_the_file():
    """Reading any file as a bare `PreTrainedConfig` and saving it again keeps its `model_type`."""
    values = {"model_type": "plain", "width": 16}

    assert PreTrainedConfig.from_dict(values).to_dict() == values


def test_values_of_a_file_make_a_config():
    """`config_from_values` builds what `read_config_values` has read, and names the file in errors."""
    config, unused = config_from_values(Block, {"width": 1}, where="there", overrides={"dropout": 0.5, "other": 1})
    with pytest.raises(ConfigError) as caught:
        config_from_values(Block, {"width": "1"}, where="there", overrides={})

    assert (config, unused) == (Block(width=1, dropout=0.5), {"other": 1})
    assert str(caught.value) == "Block in there: 1 problem.\n  width: expected an int, found '1'"


def test_unknown_fields_can_be_refused():
    """`refuse_unknown_fields` raises for the first name that is no field or alias."""
    refuse_unknown_fields(MyModelConfig, ["hidden_size", "d_model", "dtype"])
    with pytest.raises(UnknownOptionError) as caught:
        refuse_unknown_fields(MyModelConfig, ["d_model", "d_modle"])

    assert str(caught.value) == "MyModelConfig has no field 'd_modle'.\n  Did you mean 'd_model'?"


# ---- labels


def test_label2id_follows_from_id2label():
    """The inverse of the labels is readable and saved, though never given."""
    config = Block(id2label={0: "cat", 1: "dog"})

    assert config.label2id == {"cat": 0, "dog": 1}
    assert (config.to_dict()["id2label"], config.to_dict()["label2id"]) == (
        {"0": "cat", "1": "dog"},
        {"cat": 0, "dog": 1},
    )


def test_there_are_no_labels_by_default():
    """A config without labels has neither map, in the object and in the file."""
    assert (Block().id2label, Block().label2id) == (None, None)
    assert {"id2label", "label2id"} & Block().to_dict().keys() == set()


def test_id2label_follows_from_label2id():
    """Giving only the inverse sets both, from code, from a file, as an override and by assignment."""
    labels = {"cat": 0, "dog": 1}
    assigned = Block()
    assigned.label2id = labels
    built = [Block(label2id=labels), Block.from_dict({"label2id": labels}), Block.from_dict({}, label2id=labels)]

    assert [config.id2label for config in [assigned, *built]] == [{0: "cat", 1: "dog"}] * 4


def test_labels_can_be_removed():
    """Assigning None to either map removes both."""
    config = Block(id2label={0: "cat"})
    config.label2id = None

    assert config.id2label is None


def test_both_maps_may_override():
    """`from_dict` takes both maps, as tutorials of Transformers pass them."""
    config = Block.from_dict({"id2label": {"0": "a"}, "label2id": {"a": 0}}, id2label={0: "cat"}, label2id={"cat": 0})

    assert config.id2label == {0: "cat"}


@pytest.mark.parametrize(
    "labels",
    [
        {0: "cat", 1: "dog"},
        {-1: "ignored", 0: "cat"},
        {0: "crane", 1: "dog", 2: "crane"},
        {},
    ],
    ids=str,
)
def test_labels_round_trip(labels):
    """Negative indices, one label for two indices and no labels at all come back."""
    config = Block(id2label=labels)

    assert Block.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_either_index_of_a_repeated_label_is_accepted():
    """A file of Transformers may name either index of a label that two classes share."""
    values = {"id2label": {"0": "crane", "1": "crane"}, "label2id": {"crane": 0}}

    assert Block.from_dict(values).id2label == {0: "crane", 1: "crane"}


@pytest.mark.parametrize(
    ("label2id", "problem"),
    [
        ({"cat": 1}, "the inverse of id2label, found {'cat': 1}. Remove it: it is derived."),
        ({"cat": 0, "dog": 1}, "the inverse of id2label, found {'cat': 0, 'dog': 1}. Remove it: it is derived."),
        ({"cat": [0]}, "a dict from a str to an int, found {'cat': [0]}"),
        ("cat", "a dict from a str to an int, found 'cat'"),
    ],
)
def test_label_maps_must_agree(label2id, problem):
    """A file whose maps contradict each other is refused."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({"id2label": {"0": "cat"}, "label2id": label2id})

    assert str(caught.value) == f"Block: 1 problem.\n  label2id: expected {problem}"


def test_a_map_of_labels_is_a_dict():
    """What is no map of labels is refused as such, whatever the other map says."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({"id2label": "cat", "label2id": {"cat": 0}})

    assert (
        str(caught.value) == "Block: 1 problem.\n  id2label: expected a dict from an int to a str or None, found 'cat'"
    )


def test_labels_are_checked():
    """A label that is no text is named by its index."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({"id2label": {"0": ["cat"]}, "label2id": {}})

    assert str(caught.value) == "Block: 1 problem.\n  id2label['0']: expected a str, found ['cat']"


def test_a_class_may_declare_its_own_label2id():
    """A field called `label2id` is an ordinary field."""

    class Own(PreTrainedConfig):
        label2id: dict[str, int] = field(default_factory=dict)

    assert Own.from_dict(Own(label2id={"a": 1, "b": 1}).to_dict()).label2id == {"a": 1, "b": 1}


# ---- nested configs


def test_nested_configs_come_back():
    """A config inside a config, a list or an optional field is restored as its class."""
    config = Outer(stage=Stage(depth=2), extra_stages=[Stage(depth=3)], head=Stage(ratio=0.5))
    loaded = Outer.from_dict(json.loads(json.dumps(config.to_dict())))

    assert loaded == config
    assert [type(each) for each in (loaded.stage, loaded.extra_stages[0], loaded.head)] == [Stage] * 3


def test_a_dict_is_read_as_a_nested_config():
    """A dict stands for a nested config, in code as in a file."""
    assert Outer(stage={"depth": 5}).stage == Stage(depth=5)


def test_problems_of_nested_configs_are_placed():
    """A problem inside a nested config carries the whole path."""
    with pytest.raises(ConfigError) as caught:
        Outer(stage={"depth": "x"}, extra_stages=[{}, {"ratio": None}])

    assert str(caught.value) == (
        "Outer: 2 problems.\n"
        "  stage.depth: expected an int, found 'x'\n"
        "  extra_stages[1].ratio: expected a float, found None"
    )


def test_a_misspelt_key_in_code_is_refused():
    """A dict given in code for a nested config may hold only its fields."""
    with pytest.raises(ConfigError) as caught:
        Outer(stage={"dept": 5})

    assert str(caught.value) == "Outer: 1 problem.\n  stage.dept: expected a field of Stage. Did you mean 'depth'?"


def test_extras_of_nested_configs_survive():
    """A key of a file that a nested config does not know is kept."""
    config = Outer.from_dict({"stage": {"depth": 2, "note": "kept"}})

    assert Outer.from_dict(config.to_dict()).stage.note == "kept"
    assert Outer(stage=config.stage).stage.note == "kept"


def test_a_subclass_does_not_pass_for_its_base():
    """A nested config of a subclass, which a file could not restore, is refused."""

    class Special(Stage):
        more: int = 1

    with pytest.raises(ConfigError) as caught:
        Outer(stage=Special())

    assert str(caught.value) == (
        "Outer: 1 problem.\n  stage: expected a Stage, found Special(). "
        "Annotate the field with Special, or it could not be restored."
    )


def test_nothing_else_passes_for_a_nested_config():
    """A value that is neither the config nor a dict is refused."""
    with pytest.raises(ConfigError) as caught:
        Outer(stage=3)

    assert str(caught.value) == "Outer: 1 problem.\n  stage: expected a Stage, found 3"


# ---- files


def test_a_config_comes_back_from_its_folder(tmp_path: Path):
    """`from_pretrained` gives the config that `save_pretrained` wrote, in a folder that it created."""
    config = Block(width=16, id2label={0: "cat"})
    config.save_pretrained(tmp_path / "new" / "checkpoint")

    assert Block.from_pretrained(tmp_path / "new" / "checkpoint") == config
    assert Block.from_pretrained(str(tmp_path / "new" / "checkpoint")) == config


def test_saving_twice_gives_the_same_bytes(tmp_path: Path):
    """Saving, loading and saving again writes the same file."""
    Block(width=16, architectures=["Net"]).save_pretrained(tmp_path)
    first = (tmp_path / "config.json").read_bytes()
    Block.from_pretrained(tmp_path).save_pretrained(tmp_path)

    assert (tmp_path / "config.json").read_bytes() == first


def test_the_file_is_the_canonical_text(tmp_path: Path):
    """A file has sorted keys, two spaces of indentation, only ASCII and a line feed at its end."""
    Plain(layers=[1], note="é").save_pretrained(tmp_path)

    assert (tmp_path / "config.json").read_bytes() == (
        b'{\n  "layers": [\n    1\n  ],\n  "model_type": "plain",\n  "note": "\\u00e9",\n  "width": 8\n}\n'
    )


def test_from_pretrained_takes_overrides(tmp_path: Path):
    """A keyword of `from_pretrained` that names a field replaces the file's value."""
    Block(width=16).save_pretrained(tmp_path)
    config, unused = Block.from_pretrained(tmp_path, return_unused_kwargs=True, dropout=0.5, not_a_field=1)

    assert (config, unused) == (Block(width=16, dropout=0.5), {"not_a_field": 1})


def test_from_pretrained_refuses_unknown_keywords(tmp_path: Path):
    """A keyword of `from_pretrained` that is neither option nor field is an error with a suggestion."""
    Block().save_pretrained(tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Block.from_pretrained(tmp_path, widht=16)

    assert str(caught.value) == "Block has no field 'widht'.\n  Did you mean 'width'?"


def test_errors_name_the_file(tmp_path: Path):
    """A value that does not fit is reported with the file that holds it."""
    (tmp_path / "config.json").write_text('{"width": "8"}')
    with pytest.raises(ConfigError) as caught:
        Block.from_pretrained(tmp_path)

    assert str(caught.value) == (
        f"Block in {tmp_path / 'config.json'}: 1 problem.\n  width: expected an int, found '8'"
    )


def test_the_file_of_another_architecture_is_named(tmp_path: Path):
    """Loading another architecture's folder names the file and both model types."""
    Plain().save_pretrained(tmp_path)
    with pytest.raises(ConfigError) as caught:
        Block.from_pretrained(tmp_path)

    assert str(caught.value) == (
        f"Block in {tmp_path / 'config.json'}: 1 problem.\n"
        "  model_type: expected 'block', found 'plain'. Load it with AutoConfig instead."
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (10**30, "holds an integer of 31 digits; at most 20 are read."),
        (json.loads("[" * 70 + "]" * 70), "nests lists and objects more than 64 deep."),
        ("x" * (1 << 20), "would have 1,048,594 bytes; at most 1,048,576 are read."),
    ],
    ids=["digits", "depth", "size"],
)
def test_nothing_is_written_that_could_not_be_read(value, problem, tmp_path: Path):
    """A config whose file would exceed a budget of the reader is not saved, and the old file stays."""

    class Anything(PreTrainedConfig):
        value: Any = None

    Anything(value=1).save_pretrained(tmp_path)
    with pytest.raises(ConfigFileError) as caught:
        Anything(value=value).save_pretrained(tmp_path)

    assert str(caught.value) == f"the config file of Anything {problem}"
    assert Anything.from_pretrained(tmp_path).value == 1


def test_a_container_spoilt_in_place_is_not_saved(tmp_path: Path):
    """A value that was changed in place to what its field refuses is reported before the file is touched."""
    config = Outer()
    config.save_pretrained(tmp_path)
    config.extra_stages.append("deep")
    with pytest.raises(ConfigError) as caught:
        config.save_pretrained(tmp_path)

    assert str(caught.value) == "Outer: 1 problem.\n  extra_stages[0]: expected a Stage, found 'deep'"
    assert Outer.from_pretrained(tmp_path) == Outer()


def test_hooks_run_before_saving():
    """A config that a `validate_*` method refuses after a change in place is not written."""

    class Counted(PreTrainedConfig):
        layers: list[int] = field(default_factory=lambda: [1])

        def validate_layers(self) -> Iterator[Problem]:
            """Yield a problem unless there is a layer."""
            if not self.layers:
                yield Problem("layers", "at least one layer", "none")

    config = Counted()
    config.layers.clear()
    with pytest.raises(ConfigError) as caught:
        config.to_json_string()

    assert str(caught.value) == "Counted: 1 problem.\n  layers: expected at least one layer, found none"


def test_a_config_is_not_saved_into_a_file(tmp_path: Path):
    """Saving to the path of a file is refused, and the file is untouched."""
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UnsafePathError) as caught:
        Block().save_pretrained(tmp_path / "file")

    assert str(caught.value) == (
        f"{str(tmp_path / 'file')!r} is not a folder, so nothing can be saved into it. Give the path of a folder."
    )
    assert (tmp_path / "file").read_text() == "precious"
