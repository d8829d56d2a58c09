"""Mutants of level 3, the files and the memory: other bytes, other names, other people's tensors."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nameplate_config.typing import StrPath
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.instruments.oracle import INDEX, read_index
from nameplate_conformance.zoo.reference import Mutant, ZooModel, of


def _stamps_its_saves() -> Architecture:
    clock = itertools.count()

    class StampingModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            plain = self.config
            config: Any = plain.copy()
            config.saved_at = next(clock)
            self.config = config
            super().save_pretrained(folder, **options)
            self.config = plain

    return of(StampingModel)


def _counts_in_kilobytes() -> Architecture:
    class GenerousModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            if isinstance(options.get("max_shard_size"), int):
                options["max_shard_size"] *= 1000
            super().save_pretrained(folder, **options)

    return of(GenerousModel)


def _leaves_a_draft() -> Architecture:
    class CarelessModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            super().save_pretrained(folder, **options)
            if (Path(folder) / INDEX).exists():
                (Path(folder) / "model.safetensors.partial").write_bytes(b"")

    return of(CarelessModel)


def _skips_its_own_folder() -> Architecture:
    class SkippingModel(ZooModel):
        loaded_from: Path | None = None

        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            model.loaded_from = Path(str(source))
            return model

        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            if Path(folder) != self.loaded_from:
                super().save_pretrained(folder, **options)

    return of(SkippingModel)


def _shares_what_it_has_read() -> Architecture:
    read: dict[object, torch.Tensor] = {}

    class CachingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            file = Path(str(source)) / "model.safetensors"
            if kwargs.keys() <= {"memory"} and file.is_file():
                for name, parameter in model.named_parameters():
                    key = (file, file.stat().st_mtime_ns, file.stat().st_ino, name)
                    parameter.data = read.setdefault(key, parameter.data)
            return model

    return of(CachingModel)


def _writes_into_the_old_file() -> Architecture:
    class OverwritingModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            old = Path(folder) / "model.safetensors"
            if options or not old.exists():
                super().save_pretrained(folder, **options)
                return
            aside = Path(folder).with_name("aside")
            super().save_pretrained(aside)
            for entry in aside.iterdir():
                with (Path(folder) / entry.name).open("r+b") as file:
                    file.truncate(file.write(entry.read_bytes()))
            shutil.rmtree(aside)

    return of(OverwritingModel)


def _drops_letters() -> Architecture:
    class AsciiModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            if isinstance(source, str):
                source = source.encode("ascii", "ignore").decode()
            return super().from_pretrained(source, **kwargs)

    return of(AsciiModel)


def _variant_sweeps() -> Architecture:
    class SweepingModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            variant = options.get("variant")
            for entry in Path(folder).glob("model*.safetensors") if variant else ():
                if f".{variant}" not in entry.name:
                    entry.unlink()
            super().save_pretrained(folder, **options)

    return of(SweepingModel)


def _trusts_the_order_of_the_index() -> Architecture:
    class PositionalModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            folder = Path(str(source))
            if (folder / INDEX).is_file() and not kwargs:
                names = list(read_index(folder)["weight_map"])
                if names.index("norm.weight") < names.index("norm.bias"):
                    model.norm.weight, model.norm.bias = model.norm.bias, model.norm.weight
            return model

    return of(PositionalModel)


def _copies_what_it_maps() -> Architecture:
    class CopyingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            for parameter in model.parameters():
                parameter.data = parameter.data.clone()
            return model

    return of(CopyingModel)


def _unties() -> Architecture:
    class UntyingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            seen: set[int] = set()
            for module in model.modules():
                for name, parameter in list(module.named_parameters(recurse=False)):
                    if id(parameter) in seen:
                        module.register_parameter(name, nn.Parameter(parameter.detach().clone()))
                    seen.add(id(parameter))
            return model

    return of(UntyingModel)


def _forgets_strides() -> Architecture:
    class FlatModel(ZooModel):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            state = super().state_dict(*args, **kwargs)
            for name, tensor in state.items():
                if tensor.layout is torch.strided and not tensor.is_contiguous():
                    state[name] = tensor.detach().as_strided(tensor.shape, torch.empty(tensor.shape).stride())
            return state

    return of(FlatModel)


def _integers_through_floats() -> Architecture:
    class FloatingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            for buffer in model.buffers():
                if buffer.dtype is torch.int64:
                    buffer.copy_(buffer.float())
            return model

    return of(FloatingModel)


def _hides_nan() -> Architecture:
    class HidingModel(ZooModel):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            state = super().state_dict(*args, **kwargs)
            for name, tensor in state.items():
                if tensor.dtype is torch.float32 and bool(tensor.isnan().any()):
                    state[name] = torch.nan_to_num(tensor)
            return state

    return of(HidingModel)


FILE_MUTANTS = (
    Mutant("StampsItsSaves", "S03", "every save writes another number into the config", _stamps_its_saves),
    Mutant("CountsInKilobytes", "S04", "shards are a thousand times larger than asked for", _counts_in_kilobytes),
    Mutant("LeavesADraft", "S04", "an empty file is left beside the shards", _leaves_a_draft),
    Mutant("SkipsItsOwnFolder", "S07", "saving to where it was loaded from does nothing", _skips_its_own_folder),
    Mutant("Unties", "S08", "after loading, each name has a tensor of its own", _unties),
    Mutant("ForgetsStrides", "S12", "the memory of a tensor is saved, not its values", _forgets_strides),
    Mutant("IntegersThroughFloats", "S13", "large integers are rounded to floats", _integers_through_floats),
    Mutant("HidesNaN", "S14", "NaN is replaced before it is saved", _hides_nan),
    Mutant("SharesWhatItHasRead", "S15", "a second load gets the tensors of the first", _shares_what_it_has_read),
    Mutant("WritesIntoTheOldFile", "S15", "a save rewrites the file that is mapped", _writes_into_the_old_file),
    Mutant("DropsLetters", "S16", "letters beyond ASCII are dropped from a path", _drops_letters),
    Mutant("VariantSweeps", "S16", "saving a variant removes the other one", _variant_sweeps),
    Mutant("TrustsTheIndex", "S17", "tensors are told apart by their order", _trusts_the_order_of_the_index),
    Mutant("CopiesWhatItMaps", "S18", "every mapped tensor is copied", _copies_what_it_maps),
)
