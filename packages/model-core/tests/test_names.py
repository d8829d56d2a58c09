"""Names that a file has and a model has not: heads, renames, and older versions of a class."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_model import CheckpointError, MismatchError, PreTrainedModel, load_weights, migrates_state


class NetConfig(PreTrainedConfig):
    """Sizes of a small network."""

    model_type = "net"

    width: int = 4
    classes: int = 3


class Body(PreTrainedModel):
    """Two layers; what it has of the head's keys belongs to `Classifier`."""

    config_class = NetConfig
    head_prefixes = ("fc.",)

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.width)
        self.norm = nn.BatchNorm1d(config.width)


class Classifier(Body):
    """The body and a head."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.fc = nn.Linear(config.width, config.classes)


HEAD = ["fc.bias", "fc.weight"]


def saved(model_class: type[PreTrainedModel], folder: Path, **fields: Any) -> PreTrainedModel:
    """Save a model whose tensors differ from what any construction gives, and return it."""
    model = model_class(model_class.config_class(**fields))
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.copy_((torch.rand(tensor.shape) * 100).to(tensor.dtype))
    model.save_pretrained(folder)
    return model


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Replace the weights in a folder by what *change* makes of them, as another library would write them."""
    path = folder / "model.safetensors"
    save_file(change({key: tensor.clone() for key, tensor in load_file(path).items()}), path, {"format": "pt"})


def without(*keys: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Return a change that removes keys."""
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key not in keys}


def refusal(folder: Path, model_class: type[PreTrainedModel] = Body, **options: Any) -> MismatchError:
    """Return the error of a load that must fail."""
    with pytest.raises(MismatchError) as caught:
        model_class.from_pretrained(folder, **options)
    return caught.value


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts, dtypes included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in ours
    )


# ---- body and head


def test_a_head_is_new_over_a_body(tmp_path: Path):
    """A class with a head loads a checkpoint of the body; the report lists the head's keys as transferred."""
    model = saved(Body, tmp_path)
    loaded, report = Classifier.from_pretrained(tmp_path, output_loading_info=True)

    assert (report.missing, report.transferred) == (tuple(HEAD), tuple(HEAD))
    assert torch.equal(loaded.linear.weight, model.linear.weight)


def test_a_head_is_left_out_of_a_body(tmp_path: Path):
    """The body loads a checkpoint of a class with a head; the report lists the head's keys as transferred."""
    model = saved(Classifier, tmp_path)
    loaded, report = Body.from_pretrained(tmp_path, output_loading_info=True)

    assert (report.unexpected, report.transferred) == (tuple(HEAD), tuple(HEAD))
    assert torch.equal(loaded.linear.weight, model.linear.weight)


def test_a_transfer_does_not_depend_on_who_read_the_config(tmp_path: Path):
    """The checkpoint's own config says who saved it, also where another is passed."""
    saved(Body, tmp_path)
    loaded = Classifier.from_pretrained(tmp_path, config=NetConfig(classes=7))

    assert loaded.load_report.transferred == tuple(HEAD)
    assert loaded.fc.weight.shape == (7, 4)


def test_a_transfer_excuses_nothing_else(tmp_path: Path):
    """A key of the body that is missing is an error, transfer or not."""
    saved(Body, tmp_path)
    rewrite(tmp_path, without("linear.bias"))
    report = refusal(tmp_path, Classifier).report

    assert report is not None
    assert (report.missing, report.transferred) == (("fc.bias", "fc.weight", "linear.bias"), ("fc.bias", "fc.weight"))


def test_within_a_class_a_missing_head_is_an_error(tmp_path: Path):
    """What a class saved has that class's head, or it is broken."""
    saved(Classifier, tmp_path)
    rewrite(tmp_path, without(*HEAD))
    report = refusal(tmp_path, Classifier).report

    assert report is not None
    assert (report.missing, report.transferred) == (tuple(HEAD), ())


# ---- a body in an attribute


class Stem(PreTrainedModel):
    """A body, as Transformers has them."""

    config_class = NetConfig
    base_model_prefix = "stem"

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.width)
        self.norm = nn.BatchNorm1d(config.width)
        self.tied = nn.Linear(config.width, config.width)
        self.tied.weight = self.linear.weight


class StemWithHead(PreTrainedModel):
    """A head over a body in an attribute."""

    config_class = NetConfig
    base_model_prefix = "stem"

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.stem = Stem(config)
        self.fc = nn.Linear(config.width, config.classes)


SHARDS = [{}, {"max_shard_size": 1}]


@pytest.mark.parametrize("options", SHARDS, ids=["single", "sharded"])
def test_a_head_takes_a_body_without_prefix(options: dict[str, Any], tmp_path: Path):
    """A checkpoint of the body fills the attribute that holds it; what is not body is new, and reported."""
    model = saved(Stem, tmp_path)
    model.save_pretrained(tmp_path, **options)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        plain = StemWithHead(NetConfig())
        torch.manual_seed(5)
        loaded, report = StemWithHead.from_pretrained(tmp_path, output_loading_info=True)

    assert same(loaded.stem, model)
    assert torch.equal(loaded.fc.weight, plain.fc.weight)
    assert (report.missing, report.transferred, report.unexpected) == (tuple(HEAD), tuple(HEAD), ())
    assert ("stem.norm.bias", "norm.bias") in report.renamed
    assert loaded.stem.tied.weight is loaded.stem.linear.weight


@pytest.mark.parametrize("options", SHARDS, ids=["single", "sharded"])
def test_a_body_takes_what_a_head_holds(options: dict[str, Any], tmp_path: Path):
    """A checkpoint of a head fills the body with what is below the attribute; the rest is left over, and reported."""
    model = saved(StemWithHead, tmp_path)
    model.save_pretrained(tmp_path, **options)
    loaded, report = Stem.from_pretrained(tmp_path, output_loading_info=True)

    assert same(loaded, model.stem)
    assert (report.missing, report.transferred, report.unexpected) == ((), tuple(HEAD), tuple(HEAD))
    assert ("norm.bias", "stem.norm.bias") in report.renamed
    assert loaded.tied.weight is loaded.linear.weight


def test_another_head_takes_the_body(tmp_path: Path):
    """Of a checkpoint with another head the body is taken; both heads are reported."""

    class Other(PreTrainedModel):
        config_class = NetConfig
        base_model_prefix = "stem"

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.stem = Stem(config)
            self.regress = nn.Linear(config.width, 1)

    model = saved(StemWithHead, tmp_path)
    loaded, report = Other.from_pretrained(tmp_path, strict=False, output_loading_info=True)

    assert same(loaded.stem, model.stem)
    assert (report.missing, report.unexpected) == (("regress.bias", "regress.weight"), tuple(HEAD))


def test_a_missing_tensor_of_the_body_is_an_error(tmp_path: Path):
    """A transfer excuses the head, and nothing below the attribute."""
    saved(Stem, tmp_path)
    rewrite(tmp_path, without("norm.bias"))
    report = refusal(tmp_path, StemWithHead).report

    assert report is not None
    assert (report.missing, report.transferred) == ((*HEAD, "stem.norm.bias"), tuple(HEAD))


def test_what_a_class_saved_itself_is_not_transferred(tmp_path: Path):
    """Within a class a missing head is an error, prefix or not."""
    saved(StemWithHead, tmp_path)
    rewrite(tmp_path, without(*HEAD))
    report = refusal(tmp_path, StemWithHead).report

    assert report is not None
    assert (report.missing, report.transferred) == (tuple(HEAD), ())


def test_heads_of_one_name_need_a_mapping(tmp_path: Path):
    """Where body and head use one name, the error says so, and renaming the head's is the way out."""

    class Named(PreTrainedModel):
        config_class = NetConfig
        base_model_prefix = "stem"

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.stem = Stem(config)
            self.norm = nn.LayerNorm(config.width)

    model = saved(Named, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        Stem.from_pretrained(tmp_path)

    assert "would be renamed to 'norm." in str(caught.value)
    loaded = Stem.from_pretrained(tmp_path, key_mapping={r"^norm\.": "head."})
    assert same(loaded, model.stem)
    assert loaded.load_report.transferred == ("head.bias", "head.weight")


# ---- ignored keys


class Careless(Body):
    """Does not care for some keys."""

    _keys_to_ignore_on_load_missing = [r"position_ids", r"^linear\.b"]
    _keys_to_ignore_on_load_unexpected = [r"^old\.\d+"]


def test_a_class_may_ignore_keys(tmp_path: Path):
    """What a regular expression of the class finds is neither an error nor missing; the report keeps it apart."""
    saved(Careless, tmp_path)
    rewrite(tmp_path, lambda tensors: {**without("linear.bias")(tensors), "old.7.x": torch.ones(1)})
    loaded, report = Careless.from_pretrained(tmp_path, output_loading_info=True)

    assert (report.exact, report.missing, report.unexpected) == (True, (), ())
    assert report.ignored == ("linear.bias", "old.7.x")
    verdicts = [report.verdict(key) for key in ("linear.bias", "linear.weight", "nothing")]
    assert verdicts == ["ignored", "loaded", "unknown"]
    assert not loaded.linear.bias.is_meta


def test_a_class_ignores_only_what_it_names(tmp_path: Path):
    """Other keys are errors as before."""
    saved(Careless, tmp_path)
    rewrite(tmp_path, lambda tensors: {**without("linear.weight")(tensors), "older.x": torch.ones(1)})
    report = refusal(tmp_path, Careless).report

    assert report is not None
    assert (report.missing, report.unexpected) == (("linear.weight",), ("older.x",))


# ---- key_mapping


def test_names_are_mapped_in_order(tmp_path: Path):
    """Each regular expression is replaced in what those before it made, and the report has both ends."""
    model = saved(Body, tmp_path)
    rewrite(tmp_path, lambda t: {key.replace("linear.", "model.dense_0."): each for key, each in t.items()})
    mapping = {r"^model\.": "", r"dense_(\d)\.": r"linear\1.", "linear0": "linear"}
    loaded, report = Body.from_pretrained(tmp_path, key_mapping=mapping, output_loading_info=True)

    assert same(loaded, model)
    assert report.exact
    assert report.renamed == (("linear.bias", "model.dense_0.bias"), ("linear.weight", "model.dense_0.weight"))


def test_two_tensors_cannot_get_one_name(tmp_path: Path):
    """A mapping that joins two names is an error that says which."""
    saved(Body, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        Body.from_pretrained(tmp_path, key_mapping={r"linear\.\w+": "linear.x"})

    assert str(caught.value) == (
        f"{tmp_path / 'model.safetensors'}: both 'linear.weight' and 'linear.bias' would be renamed to 'linear.x'."
    )


@pytest.mark.parametrize(
    "mapping", [{"(": "x"}, {"linear": r"\2"}, {"linear": 3}, {3: "linear"}, {"linear": None}, ["linear"], "linear"]
)
def test_a_mapping_that_cannot_be_is_an_error(mapping: Any, tmp_path: Path):
    """A pattern that is none, a replacement with an unknown group, or anything but texts, is refused and shown."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, key_mapping=mapping)

    assert str(caught.value).startswith("key_mapping must map regular expressions to texts, found ")


# ---- older versions of a class


class Third(PreTrainedModel):
    """The third version: once `dense` was called `linear`, and its weight was in two halves."""

    config_class = NetConfig
    state_dict_version = 3

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.BatchNorm1d(config.width)

    @staticmethod
    @migrates_state(1, 2)
    def join(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Join the halves."""
        halves = [state[f"linear.{half}"] for half in ("upper", "lower")]
        rest = {name: tensor for name, tensor in state.items() if name not in {"linear.upper", "linear.lower"}}
        return {**rest, "linear.weight": torch.cat(halves)}

    @staticmethod
    @migrates_state(2, 3)
    def rename(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Rename the layer."""
        return {name.replace("linear.", "dense."): tensor for name, tensor in state.items()}


def halved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict as the first version had it."""
    upper, lower = tensors["dense.weight"].chunk(2)
    rest = {name.replace("dense.", "linear."): each for name, each in tensors.items() if name != "dense.weight"}
    return {**rest, "linear.upper": upper.clone(), "linear.lower": lower.clone()}


@pytest.mark.parametrize("memory", ["mmap", "copy"])
def test_older_versions_are_migrated(memory: str, tmp_path: Path):
    """A file of the first version goes through every migration to the present one."""
    model = saved(Third, tmp_path)
    rewrite(tmp_path, halved)
    loaded, report = Third.from_pretrained(tmp_path, output_loading_info=True, memory=memory)

    assert same(loaded, model)
    assert report.exact
    assert ("dense.bias", "linear.bias") in report.renamed


@pytest.mark.parametrize("options", SHARDS, ids=["single", "sharded"])
def test_a_version_is_recorded(options: dict[str, Any], tmp_path: Path):
    """What the present version saved is not migrated."""
    model = saved(Third, tmp_path)
    model.save_pretrained(tmp_path, **options)
    loaded = Third.from_pretrained(tmp_path)

    assert same(loaded, model)
    assert loaded.load_report.renamed == ()


def test_a_plan_migrates_names_alone(tmp_path: Path):
    """A plan knows what migrations make of the names, and its report is the load's."""
    saved(Third, tmp_path)
    rewrite(tmp_path, halved)

    assert Third.plan_load(tmp_path).report == Third.from_pretrained(tmp_path).load_report


@pytest.mark.parametrize("rewritten", [halved, None], ids=["first", "present"])
def test_a_model_that_is_there_is_filled_from_any_version(rewritten: Any, tmp_path: Path):
    """`load_weights` knows the versions of the class whose model it fills."""
    model = saved(Third, tmp_path)
    if rewritten is not None:
        rewrite(tmp_path, rewritten)
    filled = Third(model.config)
    report = load_weights(filled, tmp_path)

    assert same(filled, model)
    assert report.exact


def test_a_newer_version_is_an_error(tmp_path: Path):
    """A file of a version that the class does not know yet is refused, and the error says what to do."""
    saved(Third, tmp_path)

    class Second(Third):
        state_dict_version = 2

    with pytest.raises(CheckpointError) as caught:
        Second.from_pretrained(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path / 'model.safetensors'} has version 3 of its names, and the class knows 2. "
        "Install a newer version of the package that defines it."
    )


def test_a_migration_that_fails_is_an_error(tmp_path: Path):
    """What a migration raises is the cause of an error that names the file and the version."""
    saved(Third, tmp_path)
    rewrite(tmp_path, dict)
    with pytest.raises(CheckpointError) as caught:
        Third.from_pretrained(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path / 'model.safetensors'}: the migration of its names from version 1 failed: 'linear.upper'."
    )
    assert isinstance(caught.value.__cause__, KeyError)


def test_migrations_without_a_gap_are_asked_for():
    """A version to which no migration leads is an error that names the one to write."""
    with pytest.raises(UnknownOptionError) as caught:
        type(Third)("Gap", (Third,), {"state_dict_version": 4})

    assert str(caught.value) == (
        "Gap has state_dict_version 4, but no way on from version 3. Add a static method with @migrates_state(3, 4)."
    )


def test_two_migrations_from_one_version_are_an_error():
    """Which of two migrations counts is never guessed."""
    another = staticmethod(migrates_state(2, 3)(lambda state: state))
    with pytest.raises(UnknownOptionError) as caught:
        type(Third)("Twice", (Third,), {"another": another})

    assert str(caught.value) == "Twice has two migrations of the state dict from version 2; keep one."


@pytest.mark.parametrize("versions", [(1, 3), (2, 1), (0, 1), (1, 1)])
def test_a_migration_leads_to_the_next_version(versions: tuple[int, int]):
    """A step of another width is an error."""
    with pytest.raises(UnknownOptionError) as caught:
        migrates_state(*versions)

    assert str(caught.value) == (
        f"a migration leads from one version to the next, such as (1, 2); found ({versions[0]}, {versions[1]})."
    )


def test_a_migration_may_not_touch_what_it_is_given(tmp_path: Path):
    """Even a migration that writes into its tensors changes no file."""

    class Rude(Third):
        @staticmethod
        @migrates_state(1, 2)
        def join(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            for tensor in state.values():
                tensor.zero_()
            return Third.join(state)

    saved(Third, tmp_path)
    rewrite(tmp_path, halved)
    before = (tmp_path / "model.safetensors").read_bytes()
    Rude.from_pretrained(tmp_path)

    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_state_dict_that_is_given_is_of_the_current_version(tmp_path: Path):
    """What a model of the class has in memory needs no migration."""
    model = saved(Third, tmp_path)

    loaded = Third.from_pretrained(None, config=NetConfig(), state_dict=model.state_dict())
    assert loaded.load_report.exact
    assert loaded.load_report.renamed == ()
