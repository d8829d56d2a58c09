"""`ModelOutput`: what is declared as a dataclass is a dict of what there is, to Python and to torch."""

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nameplate_model import ModelOutput, OutputDefinitionError, UnknownEntryError


@dataclass
class Scores(ModelOutput):
    """What a classifier answers."""

    kind: ClassVar[str] = "scores"
    loss: Tensor | None = None
    logits: Tensor | None = None
    states: tuple[Tensor, ...] | None = None


@dataclass
class Located(Scores):
    """What a detector answers."""

    boxes: Tensor | None = None


@dataclass
class Needed(ModelOutput):
    """An answer with a field that has no default."""

    logits: Tensor
    more: Any = None


LOSS, LOGITS = torch.tensor(0.5), torch.rand(2, 3)
NAMES = ("loss", "logits", "states")


class Net(nn.Module):
    """Answers with an output, and sets an entry late."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor, before: Scores | None = None) -> Scores:
        """Return scores, with a loss if there were others before."""
        answer = Scores(logits=self.linear(x), states=(x,))
        if before is not None:
            answer.loss = (answer.logits - before["logits"]).square().mean() + before.states[0].sum()
        return answer


# ---- entries and attributes


def test_an_entry_is_an_attribute():
    """What is not None is both; what is None is an attribute alone."""
    output = Scores(logits=LOGITS)

    assert output.logits is output["logits"] is output.get("logits") is LOGITS
    assert (output.loss, output.get("loss"), "loss" in output, len(output)) == (None, None, False, 1)
    assert (Scores.kind, isinstance(output, dict), dataclasses.is_dataclass(output)) == ("scores", True, True)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.integers(), st.booleans())))
def test_dict_and_dataclass_never_differ(steps: list[tuple[str, int | None, bool]]):
    """However entries are set, the dict holds the attributes that are not None, in the order of the fields."""
    output, expected = Scores(), dict.fromkeys(NAMES)
    for name, value, as_attribute in steps:
        expected[name] = value
        if as_attribute:
            setattr(output, name, value)
        else:
            output[name] = value

    there = {name: value for name, value in expected.items() if value is not None}
    assert {name: getattr(output, name) for name in NAMES} == expected
    assert list(output.items()) == list(there.items())
    assert output.to_tuple() == tuple(there.values())


@pytest.mark.parametrize(
    "taken",
    [
        lambda output: output.pop("loss"),
        lambda output: output.__delitem__("loss"),
        lambda output: output.__delattr__("loss"),
        lambda output: output.update(loss=None),
        lambda output: setattr(output, "loss", None),
    ],
)
def test_an_entry_that_is_taken_away_is_none(taken: Callable[[Scores], Any]):
    """There is no attribute left behind."""
    output = Scores(LOSS, LOGITS)
    taken(output)

    assert (output.loss, list(output)) == (None, ["logits"])


def test_places_are_those_of_the_tuple():
    """A number or a slice reads the tuple of what there is, as callers of Transformers expect."""
    output = Scores(logits=LOGITS, states=(LOSS,))

    assert output[0] is LOGITS
    assert output[-1] == (LOSS,)
    assert output[:1] == (LOGITS,)
    assert Scores(LOSS, LOGITS).to_tuple() == (LOSS, LOGITS)


def test_a_dict_would_take_these_too():
    """`update`, `|=`, `setdefault` and `copy` keep the class and the order."""
    output = Scores(logits=1)
    output |= {"states": 3}
    output.update([("loss", 0)], logits=2)

    assert (output.setdefault("loss", 7), list(output.values())) == (0, [0, 2, 3])
    assert (Scores().setdefault("loss", 7), Scores().setdefault("loss")) == (7, None)
    assert type(output.copy()) is Scores
    assert output.copy() == output
    assert type(output | {"other": 1}) is dict


@pytest.mark.parametrize(
    "wrong",
    [
        lambda output: output.__setitem__("logit", 1),
        lambda output: setattr(output, "logit", 1),
        lambda output: output.update({"loss": 1, "logit": 1}),
        lambda output: output.setdefault("logit", 1),
        lambda output: output["logit"],
        lambda _: Scores(iter([("logit", 1)])),
    ],
)
def test_a_misspelt_entry_is_an_error(wrong: Callable[[Scores], Any]):
    """Whichever way it is set or read, the error names the right one and nothing has changed."""
    output = Scores(logits=LOGITS)
    with pytest.raises(UnknownEntryError) as error:
        wrong(output)

    assert str(error.value) == (
        "Scores has no entry 'logit'.\n  Did you mean 'logits'?\n  Its entries are loss, logits, states."
    )
    assert isinstance(error.value, KeyError)
    assert isinstance(error.value, AttributeError)
    assert list(output) == ["logits"]


def test_an_entry_that_is_none_is_not_read_by_its_key():
    """The error says that there is such an entry, and which ones there are."""
    with pytest.raises(UnknownEntryError) as error:
        Scores(logits=LOGITS)["loss"]

    assert str(error.value) == "This Scores has no 'loss': it is None, and so no entry.\n  There are logits."


def test_a_key_is_a_text():
    """Nothing else names an entry."""
    with pytest.raises(UnknownEntryError, match=r"Scores has no entry \(1, 2\)\."):
        Scores()[(1, 2)] = 3  # type: ignore[index]


# ---- construction


@pytest.mark.parametrize(
    "entries",
    [{"logits": 2, "loss": 1}, (("logits", 2), ("loss", 1)), [["logits", 2], ["loss", 1]], Scores(1, 2)],
    ids=["dict", "pairs", "lists", "output"],
)
def test_all_entries_at_once_are_an_argument(entries: Any):
    """They may come as a mapping, as pairs, or as what yields pairs; their order does not count."""
    assert list(Scores(entries).items()) == [("loss", 1), ("logits", 2)]
    assert list(Scores(iter(dict(entries).items())).items()) == [("loss", 1), ("logits", 2)]


@pytest.mark.parametrize("value", [{"a": 1}, {}, (), (LOGITS, LOSS), [("logits", 1, 2)], "loss", 3])
def test_other_values_are_the_first_field(value: Any):
    """A mapping with other keys, or a sequence of anything else, is a value like any other."""
    output = Scores(value)

    assert output.loss is value
    assert list(output) == ["loss"]


def test_what_yields_no_pairs_is_an_error():
    """An iterator can be nothing but entries."""
    with pytest.raises(UnknownEntryError, match=r"An output is made of pairs of a name and a value; <generator"):
        Scores(each for each in (1, 2))


def test_a_field_without_a_default_is_required():
    """As in any dataclass; None is accepted and is no entry."""
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'logits'"):
        Needed()  # type: ignore[call-arg]

    assert list(Needed(logits=None, more=1)) == ["more"]
    assert list(Needed({"logits": 1, "more": 2}).values()) == [1, 2]


def test_subclasses_add_behind():
    """A subclass has the fields of its base first; the base does not get those of the subclass."""
    output = Located(boxes=4)
    output.update(states=3, loss=1)

    assert list(output) == ["loss", "states", "boxes"]
    with pytest.raises(UnknownEntryError, match="Scores has no entry 'boxes'"):
        Scores()["boxes"] = 4


# ---- classes that cannot be outputs


def test_a_class_that_is_no_dataclass_is_refused():
    """The decorator cannot be forgotten unnoticed."""

    class Bare(ModelOutput):
        loss: Tensor | None = None

    with pytest.raises(OutputDefinitionError, match=r"Bare is no dataclass\. Write @dataclass above it"):
        Bare()


def test_a_field_that_is_a_method_of_dicts_is_refused():
    """It would take the method away from everyone who uses the dict."""
    with pytest.raises(OutputDefinitionError, match=r"Wrong\.values cannot be an entry: every output has a method"):

        @dataclass
        class Wrong(ModelOutput):
            values: Tensor | None = None

    with pytest.raises(OutputDefinitionError, match=r"'to_tuple'"):

        @dataclass
        class Worse(ModelOutput):
            to_tuple: Tensor | None = None


def test_a_field_that_is_given_by_field_is_refused():
    """It would overwrite what makes it an entry."""
    with pytest.raises(OutputDefinitionError, match=r"Wrong\.loss cannot be an entry: it is given by dataclasses"):

        @dataclass
        class Wrong(ModelOutput):
            loss: Tensor | None = dataclasses.field(default=None)


@pytest.mark.parametrize("options", [{"frozen": True}, {"slots": True}, {"kw_only": True}])
def test_other_kinds_of_dataclasses_are_outputs(options: dict[str, bool]):
    """Frozen ones refuse assignment, by key too; all are copied and put together again."""

    class Plain(ModelOutput):
        loss: Any = None
        logits: Any = None

    made: Any = dataclass(**options)(Plain)
    output = made(logits=2)

    assert (output.logits, output.loss, list(output)) == (2, None, ["logits"])
    assert copy.deepcopy(output) == output == pytree.tree_map(lambda each: each, output)
    if options.get("frozen"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            output["loss"] = 1


# ---- equality


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        (Scores(logits=LOGITS.clone()), True),
        ({"logits": LOGITS.clone()}, True),
        (Scores(logits=LOGITS + 1), False),
        (Scores(logits=LOGITS.double()), False),
        (Scores(logits=LOGITS[:1]), False),
        (Scores(logits=LOGITS.to("meta")), False),
        (Scores(LOSS, LOGITS), False),
        (Scores(logits=3), False),
        (Located(logits=LOGITS.clone()), False),
        (3, False),
    ],
)
def test_equality_is_a_bool(other: Any, equal: bool):
    """Outputs are compared by class, entries and the values of tensors, and never tensor by tensor."""
    output = Scores(logits=LOGITS)

    assert (output == other) is (other == output) is equal
    assert (output != other) is not equal


def test_equality_looks_inside():
    """Tensors in tuples, dicts and outputs are compared too."""
    one, other, another = (Needed((LOGITS + n, {"a": Scores(LOSS + m)})) for n, m in ((0, 0), (0, 0), (0, 1)))

    assert one == other != another


# ---- Python


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, *(lambda each, n=n: pickle.loads(pickle.dumps(each, n)) for n in range(6))]
)
@pytest.mark.parametrize("output", [Scores(states=(LOSS,), logits=LOGITS), Needed(LOGITS), Scores()])
def test_copies_are_equal(way: Callable[[Any], Any], output: ModelOutput):
    """A copy, also one that was pickled, is of the same class with the same entries."""
    again = way(output)

    assert again == output
    assert (type(again), again is output, list(again)) == (type(output), False, list(output))


def test_dataclasses_knows_its_fields():
    """`fields`, `replace`, `asdict` and the signature are those of the declaration; None is a value there."""
    output = Scores(logits=LOGITS)

    assert [each.name for each in dataclasses.fields(Scores)] == list(NAMES)
    assert dataclasses.replace(output, loss=LOSS) == Scores(LOSS, LOGITS)
    assert dataclasses.asdict(Scores(1)) == {"loss": 1, "logits": None, "states": None}
    assert str(inspect.signature(Scores)).startswith("(loss: torch.Tensor | None = None, logits:")


def test_it_is_matched_as_a_class_and_as_a_mapping():
    """A pattern of the class reads attributes, one of a mapping reads entries."""
    match Scores(logits=7):
        case Scores(None, logits):
            found = [logits]
    match Scores(logits=7):
        case {"loss": _}:
            found += ["loss"]
        case {"logits": logits}:
            found += [logits]

    assert found == [7, 7]


def test_it_shows_what_there_is():
    """What is None is left out."""
    assert repr(Scores(logits=1, states=(2,))) == "Scores(logits=1, states=(2,))"
    with pytest.raises(TypeError, match="unhashable"):
        hash(Scores())


# ---- torch


def test_torch_takes_it_apart():
    """Every tensor inside is a leaf with a path, and what is put together is the output again."""
    output = Scores(LOSS, states=(LOGITS, LOSS))
    leaves, spec = pytree.tree_flatten_with_path(output)

    assert [pytree.keystr(path) for path, _ in leaves] == ["['loss']", "['states'][0]", "['states'][1]"]
    assert pytree.tree_unflatten([each for _, each in leaves], spec) == output


def test_torch_may_put_anything_into_it():
    """A tree of what is no tensor keeps its shape, also one of None."""
    output = Scores(LOSS, LOGITS)
    nothing = pytree.tree_map(lambda _: None, output)

    assert (list(nothing), nothing.loss) == (["loss", "logits"], None)
    assert pytree.tree_structure(nothing) == pytree.tree_structure(output)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_it_is_compiled_whole(backend: str):
    """It is made, changed, read and handed over inside one graph, and backward goes through it."""
    torch.compiler.reset()
    net, x = Net(), torch.rand(2, 3)
    run = torch.compile(net, backend=backend, fullgraph=True)
    first = run(x)
    second = run(x, pytree.tree_map(Tensor.detach, first))

    assert (type(first), list(first)) == (Scores, ["logits", "states"])
    assert second == net(x, net(x))
    assert list(second) == ["loss", "logits", "states"]
    second.loss.backward()
    assert net.linear.weight.grad is not None


@pytest.mark.parametrize("strict", [False, True], ids=["traced", "strict"])
def test_it_is_exported(strict: bool, tmp_path: Any):
    """An exported program takes it and answers it, also after it was written to a file and read back."""
    net, x = Net().requires_grad_(requires_grad=False), torch.rand(2, 3)
    program = torch.export.export(net, (x, net(x)), strict=strict)
    torch.export.save(program, tmp_path / "net.pt2")
    again = torch.export.load(tmp_path / "net.pt2")

    assert program.module()(x, net(x)) == again.module()(x, net(x)) == net(x, net(x))


def test_functional_transforms_look_inside():
    """`vmap` and `grad` of `torch.func` go through it."""
    net, x = Net(), torch.rand(4, 2, 3)
    mapped = torch.func.vmap(lambda each: torch.func.functional_call(net, dict(net.named_parameters()), (each,)))(x)
    slope = torch.func.grad(lambda each: Scores(each.sum()).loss)(x)

    assert type(mapped) is Scores
    assert torch.allclose(mapped.logits, net(x).logits)
    assert torch.equal(slope, torch.ones_like(x))


@pytest.mark.parametrize("like", [dict, list, lambda each: (pair for pair in each)])
def test_libraries_make_outputs_like_one(like: Callable[[Any], Any]):
    """`DataParallel`, accelerate and others call the class of an output with its entries."""
    output = Scores(LOSS, LOGITS)

    assert type(output)(like(output.items())) == output
