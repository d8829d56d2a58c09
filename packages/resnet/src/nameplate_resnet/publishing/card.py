"""The card of a published model: what it is, what was measured of it, the ways to load it, and what was proven.

Only words. Nothing is said that the other files of the repository do not show.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nameplate_config import model_card
from nameplate_resnet.image_processing_resnet import ImageProcessorConfig
from nameplate_resnet.publishing.certificate import Certificate
from nameplate_resnet.publishing.metrics import Metrics

CERTIFICATE_NAME = "conformance.json"
BADGE_NAME = "conformance.svg"

_PERCENT = ("accuracy",)
"""How the names of metrics end that are shares of 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a card tells.

    Attributes:
        repository: The id of the repository.
        cls: The name of the model's class.
        auto_class: The Auto class that finds it.
        config: The values of the published `config.json`.
        parameters: How many numbers the model has learnt.
        pin: The digest of the code that the repository brings.
        processor: How its images are prepared.
        metrics: What was measured, if anything was.
        certificate: What was proven, if anything was.
        license: The licence of the weights, as the Hub calls it; empty if nobody says.
        revision: The branch of the repository; empty for its main one.
    """

    repository: str
    cls: str
    auto_class: str
    config: Mapping[str, Any]
    parameters: int
    pin: str
    processor: ImageProcessorConfig
    metrics: Metrics | None = None
    certificate: Certificate | None = None
    license: str = ""
    revision: str = ""

    @property
    def name(self) -> str:
        """The repository without its owner."""
        return self.repository.rpartition("/")[2]

    @property
    def for_timm(self) -> bool:
        """Whether timm loads the repository."""
        return "architecture" in self.config


def card(facts: Facts) -> bytes:
    """Return the bytes of `README.md`."""
    task = _TASKS.get(facts.auto_class, "image-feature-extraction")
    model_type = facts.config["model_type"]
    tags = [task, model_type, "transformers", *(["timm", facts.config["architecture"]] if facts.for_timm else [])]
    data: dict[str, Any] = {"library_name": "nameplate", "pipeline_tag": task, "tags": tags}
    if facts.license:
        data["license"] = facts.license
    if facts.metrics is not None:
        data["model-index"] = facts.metrics.as_model_index(facts.name)
    sections = (_about(facts), _measured(facts), _use(facts), _proven(facts))
    return model_card("\n\n".join(filter(None, sections)), **data)


_TASKS = {
    "AutoModelForImageClassification": "image-classification",
    "AutoModelForSemanticSegmentation": "image-segmentation",
}


def _about(facts: Facts) -> str:
    config = facts.config
    network = f"timm's `{config['architecture']}`" if facts.for_timm else f"`{config['model_type']}`"
    changed = " with other arguments" if config.get("model_args") else ""
    classes = f", {config['num_classes']:,} classes" if facts.auto_class in _TASKS else ""
    height, width = facts.processor.size
    return f"""# {facts.name}

`{facts.cls}`, {network}{changed}: {facts.parameters:,} parameters{classes}, images of {height} x {width} pixels.
Published by [nameplate-resnet](https://pypi.org/project/nameplate-resnet/)."""


def _measured(facts: Facts) -> str:
    metrics = facts.metrics
    if metrics is None:
        return ""
    data = _literal(f"{metrics.dataset}, {metrics.split}" if metrics.split else metrics.dataset)
    rows = (f"| {_literal(name)} | {_number(name, value)} |" for name, value in metrics.values.items())
    return "\n".join([f"## Measured on {data}", "", "| metric | value |", "|---|---|", *rows])


def _literal(text: str) -> str:
    """Return a text of others so that Markdown shows it, and makes no table, link, picture or tag of it."""
    return re.sub(r"([\\`*\[\]<>|#!&])", r"\\\1", " ".join(text.split()))


def _number(name: str, value: float) -> str:
    return f"{value:.2%}" if name.endswith(_PERCENT) and 0 <= value <= 1 else f"{value:.4g}"


# ---- the ways to load it


def _use(facts: Facts) -> str:
    return "\n\n".join(["## Use it", *_ways(facts)])


def _ways(facts: Facts) -> Iterator[str]:
    auto_class, repository = facts.auto_class, json.dumps(facts.repository)
    at = f", revision={json.dumps(facts.revision)}" if facts.revision else ""
    yield f"""With this architecture installed, `pip install nameplate-resnet`:

```python
from nameplate_resnet import ImageProcessorConfig, {facts.cls}

model = {facts.cls}.from_pretrained({repository}{at})
transform = ImageProcessorConfig.from_pretrained({repository}{at}).transform()
```"""
    yield f"""With the cores alone, `pip install nameplate-auto nameplate-model timm`. This runs the code of this
repository if it has not changed by a byte since this card was written, and else nothing:

```python
from nameplate_auto import {auto_class}

model = {auto_class}.from_pretrained(
    {repository}{at},
    trust_remote_code="{facts.pin}",
)
```"""
    yield f"""With Transformers, `pip install transformers timm`. This runs the code of this repository, whatever it is
by then; `revision=` names a commit that you have read:

```python
from transformers import AutoImageProcessor, {auto_class}

model = {auto_class}.from_pretrained({repository}{at}, trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained({repository}{at})
```"""
    if facts.for_timm:
        place = json.dumps(f"hf-hub:{facts.repository}{'@' if at else ''}{facts.revision}")
        yield f"""With timm, `pip install timm`:

```python
import timm

model = timm.create_model({place}, pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```"""


# ---- what was proven


def _proven(facts: Facts) -> str:
    if facts.certificate is None:
        return ""
    content = facts.certificate.content
    package, standing, devices = content["package"], content["standing"], content["devices"]
    absent = f" Not run on {', '.join(devices['not run'])}." if devices["not run"] else ""
    skips = "none was admitted to fail or left out" if content["no_skip"] else "some were admitted to fail or left out"
    return f"""## Conformance

![{content["claim"]}]({BADGE_NAME})

`{package["name"]}` {package["version"]} {content["claim"]}: {standing["holding"]} of {standing["laws"]} laws of
specification {content["spec"]} hold, {skips}.{absent} The certificate is
[`{CERTIFICATE_NAME}`]({CERTIFICATE_NAME}); `nameplate-conformance verify {CERTIFICATE_NAME}` tells whether it was
changed. It is about the code, not about these weights."""
