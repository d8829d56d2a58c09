"""Publishing a model: which files go into the repository, which leave it, and what its card says."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Unpack

from nameplate_config import check_publish_options, model_card, publish
from nameplate_config.typing import PublishOptions
from nameplate_config.wording import sentences
from nameplate_model._boxes import is_sharded
from nameplate_model._state import class_of
from nameplate_model.errors import CheckpointError

if TYPE_CHECKING:
    from nameplate_model._model import PreTrainedModel

_CARD = """# {name}

{cls} of the architecture `{model_type}`, with {parameters:,} parameters.
Saved by [nameplate](https://pypi.org/project/nameplate-model/):

```python
from {module} import {cls}

model = {cls}.from_pretrained("{repository}")
```"""


def push(
    model: "PreTrainedModel", repository: str, saving: dict[str, Any], /, **options: Unpack[PublishOptions]
) -> str:
    """Publish what saving a model writes, code included, and a card, in one commit.

    Code that the repository has under other names stays.

    Args:
        model: What to publish.
        repository: The id of a repository on the Hub, created if there is none.
        saving: The options of `save_pretrained`.
        **options: How to publish it.

    Returns:
        The address of the commit.
    """
    check_publish_options(options)  # before anything is written
    if any(map(is_sharded, model.state_dict().values())):
        message = sentences(
            f"{class_of(model).__name__} lies on several ranks, and one process publishes.",
            "Call save_pretrained on all of them, into a folder that all see, then load and push it in one process.",
        )
        raise CheckpointError(message)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder, **saving)
        files: dict[str, bytes | Path] = {**_below(Path(folder))}
        card = {"README.md": _card(model, repository)}
        return publish(repository, files, "Upload model", card, _weights_of(saving.get("variant")), **options)


def _below(folder: Path) -> dict[str, Path]:
    """Return every file below a folder by its path in a repository."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _weights_of(variant: str | None) -> str:
    """Return a pattern of the names that the weights of a variant have, in whichever way they were saved."""
    dotted = re.escape(f".{variant}") if variant else ""
    shard = rf"model{dotted}-(?:[0-9a-f]+-)?\d{{5}}-of-\d{{5}}\.safetensors"
    return rf"model{dotted}\.safetensors|model\.safetensors\.index{dotted}\.json|{shard}"


def _card(model: "PreTrainedModel", repository: str) -> bytes:
    cls, model_type = class_of(model), type(model.config).model_type
    text = _CARD.format(
        name=repository.rpartition("/")[2],
        cls=cls.__name__,
        module=cls.__module__.partition("._")[0],
        model_type=model_type,
        parameters=model.num_parameters(),
        repository=repository,
    )
    return model_card(text, library_name="nameplate", tags=[each for each in (model_type,) if each])
