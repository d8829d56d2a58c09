"""What the ResNet costs above timm's own: its steps, its import, building it for a load, and all its variants on meta.

The forward pass and the training step are those of a ResNet-18 on small images, eager and compiled. Building for a load
is measured with the load around it, from a warm file, which is the only way to ask for it.
"""

import tempfile
from collections.abc import Iterator, Mapping

from benchmarks.measure import Figures, compare, run
from benchmarks.report import Section, at_least, at_most, duration, noise

_STEPS = {
    f"steps, {kind}": f"from benchmarks.resnet_steps import main; main(compiled={compiled})"
    for kind, compiled in (("eager", False), ("compiled", True))
}
_COMPILED = "steps, compiled"
_COMPILED_ROUNDS = 3

_IMPORTS = {
    "nameplate_config": "from nameplate_config import PreTrainedConfig",
    "nameplate_resnet": (
        "import json, sys\n"
        "from nameplate_resnet import ResnetConfig\n"
        "ResnetConfig()\n"
        "print(json.dumps({'heavy': len({'torch', 'timm'} & sys.modules.keys())}))"
    ),
}

_BUILD = """
import json, time
from statistics import median
import timm, torch
from nameplate_resnet import ResnetModelForImageClassification
torch.set_num_threads(1)
def milliseconds(build):
    started = time.process_time()
    build()
    return 1000 * (time.process_time() - started)
builds = {{
    "ours": lambda: ResnetModelForImageClassification.from_pretrained({folder!r}),
    "timm": lambda: timm.create_model("resnet50"),
}}
taken = {{name: [] for name in builds}}
for _ in range(6):
    for name, build in builds.items():
        taken[name].append(milliseconds(build))
print(json.dumps({{name: median(each[1:]) for name, each in taken.items()}}))
"""

_SAVE = """
from nameplate_resnet import ResnetConfig, ResnetModelForImageClassification
ResnetModelForImageClassification(ResnetConfig()).save_pretrained({folder!r})
"""

_VARIANTS = """
import json, time
import torch
from nameplate_resnet import ResnetConfig, ResnetModelForImageClassification
from nameplate_resnet.variants import TIMM_NETWORKS
started = time.process_time()
with torch.device("meta"):
    for name in TIMM_NETWORKS:
        ResnetModelForImageClassification(ResnetConfig.from_timm(name))
print(json.dumps({"seconds": time.process_time() - started, "variants": len(TIMM_NETWORKS)}))
"""

_OVERHEAD = 1.01
_IMPORT_MILLISECONDS = 40
_BUILD_FASTER = 5.0
_VARIANT_SECONDS = 10
_STEP_NOTES = (
    "A ratio is the median of those of steps in the same turn; that of a second network of timm's shows its error.",
    f"Compiled steps are taken in {_COMPILED_ROUNDS} processes.",
)
_BUILD_NOTES = ("Ours reads the config and every weight of a warm file as well; timm's initialises and reads nothing.",)


def measure(rounds: int) -> dict[str, Figures]:
    """Save a ResNet-50, then return the figures of every program."""
    with tempfile.TemporaryDirectory() as folder:
        run(_SAVE.format(folder=folder))
        programs = {**_IMPORTS, "build": _BUILD.format(folder=folder), "variants": _VARIANTS, **_STEPS}
        compiled = {_COMPILED: programs.pop(_COMPILED)}
        return {**compare(programs, rounds=rounds), **compare(compiled, rounds=min(rounds, _COMPILED_ROUNDS))}


def sections(figures: Mapping[str, Figures]) -> Iterator[Section]:
    """Yield the tables."""
    columns = ("step", "ours, CPU", "timm, CPU", "ratio", "goal", "timm against itself", "noise")
    yield Section("Steps of a ResNet-18, against timm's bare network", columns, list(_steps(figures)), _STEP_NOTES)
    columns = ("what", "ours", "against", "difference", "goal", "noise")
    yield Section("Making a ResNet", columns, list(_making(figures)), _BUILD_NOTES)


def _steps(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    for program in _STEPS:
        each = figures[program]
        for step in ("forward", "training"):
            ratio = each.median(f"{step}: ratio")
            yield (
                f"{step}, {program.removeprefix('steps, ')}",
                duration(each.median(f"{step}: ours")),
                duration(each.median(f"{step}: timm")),
                f"{ratio:.3f}x",
                at_most(ratio, _OVERHEAD),
                f"{each.median(f'{step}: control'):.3f}x",
                f"{each.spread(f'{step}: ratio'):.1%}",
            )


def _making(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    config, ours = figures["nameplate_config"], figures["nameplate_resnet"]
    base, whole = (1000 * each.median("cpu") for each in (config, ours))
    over, spread = whole - base, noise(max(config.spread("cpu"), ours.spread("cpu")))
    goal = at_most(over, _IMPORT_MILLISECONDS, " ms")
    yield "import and a config", duration(whole), f"config base {duration(base)}", duration(over), goal, spread
    heavy = ours.median("heavy")
    yield "torch or timm imported by that", f"{heavy:.0f}", "", "", at_most(heavy, 0, ""), ""
    build = figures["build"]
    mine, theirs = build.median("ours"), build.median("timm")
    faster, spread = theirs / mine, noise(max(build.spread("ours"), build.spread("timm")))
    goal = at_least(faster, _BUILD_FASTER)
    yield "a ResNet-50 for a load", duration(mine), f"create_model {duration(theirs)}", f"{faster:.1f}x", goal, spread
    variants = figures["variants"]
    seconds, spread = variants.median("seconds"), noise(variants.spread("seconds"))
    what = f"{variants.median('variants'):.0f} variants on meta"
    yield what, f"{seconds:.1f} s", "", "", at_most(seconds, _VARIANT_SECONDS, " s"), spread
