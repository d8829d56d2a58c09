"""Mutants of level 7, damage: checkpoints that load though something is gone, and errors that name no file."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from nameplate_config import NameplateError, SourceNotFoundError
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.instruments.oracle import INDEX, SINGLE, read_index
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of, with_config
from nameplate_model import CorruptFileError, ShardError


def _tensors_of(folder: Path) -> dict[str, Tensor]:
    """Return what safetensors itself finds in the files of a folder that are there."""
    from safetensors.torch import load_file  # noqa: PLC0415

    shards = sorted(set(read_index(folder)["weight_map"].values())) if (folder / INDEX).is_file() else [SINGLE]
    there = [folder / shard for shard in shards if (folder / shard).is_file()]
    return {name: tensor for file in there for name, tensor in load_file(file).items()}


def _names_no_file() -> Architecture:
    class WrappingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            try:
                return super().from_pretrained(source, **kwargs)
            except CorruptFileError as error:  # what Transformers lets through from safetensors
                message = "Error while deserializing header: incomplete metadata, file not fully covered"
                raise CorruptFileError(message) from error

    return of(WrappingModel)


def _pads_what_is_cut() -> Architecture:
    class PaddingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            try:
                return super().from_pretrained(source, **kwargs)
            except CorruptFileError as error:
                if "are missing" in str(error):  # the data of the last tensors: they stay as they were made
                    return cls(ZooConfig.from_pretrained(source)).eval()
                raise

    return of(PaddingModel)


def _trusts_any_header() -> Architecture:
    class TrustingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            try:
                return super().from_pretrained(source, **kwargs)
            except NameplateError:
                if kwargs or "checksum" not in str(_cause(source)):
                    raise
                model = cls(ZooConfig.from_pretrained(source))
                with suppress(Exception):
                    model.load_state_dict(_tensors_of(Path(str(source))), strict=False)
                return model.eval()

    return of(TrustingModel)


def _cause(source: Any) -> BaseException | None:
    """Return why the library itself refuses a checkpoint."""
    try:
        ZooModel.from_pretrained(source)
    except NameplateError as error:
        return error
    return None


def _believes_what_verifies() -> Architecture:
    class BelievingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, *, verify: str = "structure", **kwargs: Any) -> Any:
            del verify  # it takes so long
            return super().from_pretrained(source, **kwargs)

    return of(BelievingModel)


def _misses_no_shard() -> Architecture:
    class ContentModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            try:
                return super().from_pretrained(source, **kwargs)
            except ShardError as error:
                if "not there" not in str(error):
                    raise
                model = cls(ZooConfig.from_pretrained(source))
                model.load_state_dict(_tensors_of(Path(str(source))), strict=False)
                return model.eval()

    return of(ContentModel)


def _raises_whatever_the_system_says() -> Architecture:
    class BareModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            for name in ("config.json", SINGLE):
                if (file := Path(str(source)) / name).is_dir():
                    file.read_bytes()
            return super().from_pretrained(source, **kwargs)

    return of(BareModel)


def _says_nothing_of_what_is_there() -> Architecture:
    class SilentModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            try:
                return super().from_pretrained(source, **kwargs)
            except SourceNotFoundError as error:
                raise SourceNotFoundError(str(error).partition("\n")[0]) from error

    return of(SilentModel)


def _keeps_the_last_of_two() -> Architecture:
    class LenientConfig(ZooConfig):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            try:
                return super().from_pretrained(source, **kwargs)
            except NameplateError as error:
                if error.code != "duplicate-key":
                    raise
                values: Mapping[str, Any] = json.loads((Path(str(source)) / "config.json").read_bytes())
                return cls.from_dict(values)

    return with_config(LenientConfig)


def _parses_with_json_alone() -> Architecture:
    class PlainConfig(ZooConfig):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            try:
                return super().from_pretrained(source, **kwargs)
            except NameplateError as error:
                if error.code == "syntax":  # the error of the parser says line and column, but no file
                    json.loads((Path(str(source)) / "config.json").read_bytes())
                raise

    return with_config(PlainConfig)


DAMAGE_MUTANTS = (
    Mutant("NamesNoFile", "F01", "errors about a file do not say which", _names_no_file),
    Mutant("PadsWhatIsCut", "F01", "of a file that was cut off, the rest is made up", _pads_what_is_cut),
    Mutant("TrustsAnyHeader", "F02", "a header that has changed is read anyway", _trusts_any_header),
    Mutant("BelievesWhatVerifies", "F02", "a load that should verify does not", _believes_what_verifies),
    Mutant("MissesNoShard", "F03", "a shard that is gone is not missed (vllm #34859)", _misses_no_shard),
    Mutant(
        "RaisesWhateverTheSystemSays",
        "F03",
        "a folder in the place of a file is an error of the system",
        _raises_whatever_the_system_says,
    ),
    Mutant(
        "SaysNothingOfWhatIsThere", "F03", "an error leaves out what there is instead", _says_nothing_of_what_is_there
    ),
    Mutant("KeepsTheLastOfTwo", "F04", "of a key that stands twice the last counts", _keeps_the_last_of_two),
    Mutant("ParsesWithJsonAlone", "F04", "broken JSON is an error of the parser", _parses_with_json_alone),
)
