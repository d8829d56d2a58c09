"""A checkpoint in the words of another library: its config, and the names of its tensors.

What those words are says a `ForeignFormat` of the config class, and nothing here knows one. The way back is
`foreign_formats` of the config class and `foreign_key_mapping` of the model class, as for any file of that library.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from nameplate_config import ForeignFormat, PreTrainedConfig, UnknownOptionError
from nameplate_config.strict_json import readable_text
from nameplate_config.wording import did_you_mean, listed, sentences, shown
from nameplate_model._layout import NAMES_KEY
from nameplate_model._names import namer
from nameplate_model._save import Checkpoint
from nameplate_model.errors import CheckpointError


def layout_of(config_class: type[PreTrainedConfig], name: str) -> ForeignFormat:
    """Return the format of a config class in which its models can be saved.

    Raises:
        UnknownOptionError: If it has none of that name, or one that is only read.
    """
    formats = {each.name: each for each in config_class.foreign_formats if each.export is not None}
    found = formats.get(name) if isinstance(name, str) else None
    if found is not None:
        return found
    near = did_you_mean(name, formats) if isinstance(name, str) else ""
    known = f"It can be {listed(map(repr, formats))}, or None for our own." if formats else "Leave it out."
    message = f"layout={shown(name)} is none that {config_class.__name__} can be saved in."
    raise UnknownOptionError(sentences(message, near or known))


def in_layout(checkpoint: Checkpoint, config: PreTrainedConfig, layout: ForeignFormat) -> Checkpoint:
    """Return a checkpoint in the words of another library.

    Args:
        checkpoint: In our own.
        config: What it holds of the config.
        layout: The other library's.

    Raises:
        CheckpointError: If two tensors would get one name.
        ConfigError: If the layout cannot express the config.
        UnknownOptionError: If the patterns of the layout are none.
    """
    owner = type(config).__name__
    values = layout.exported(owner, config.to_dict())
    text = readable_text({name: values[name] for name in sorted(values)}, where=f"the config file of {owner}")
    return replace(
        checkpoint,
        state=_renamed(checkpoint.state, layout),
        config_text=text,
        texts={**(checkpoint.texts or {}), NAMES_KEY: layout.name},
        code=checkpoint.code if "auto_map" in values else {},  # of no use to a library that is not told of it
        one_file_for=layout.name if layout.one_file else "",
    )


def _renamed(state: Mapping[str, torch.Tensor], layout: ForeignFormat) -> dict[str, torch.Tensor]:
    """Return a state dict under the names of a layout."""
    new_name = namer(layout.export_keys, f"export_keys of the layout {layout.name!r}")
    back: dict[str, str] = {}
    for old in state:
        name = new_name(old)
        if name in back:
            message = f"the layout {layout.name!r} would call both {back[name]!r} and {old!r} {name!r}."
            raise CheckpointError(message)
        back[name] = old
    return {name: state[old] for name, old in back.items()}
