"""Level 1, the schema: what a config class says about its files to tools that do not know it."""

import json
from collections.abc import Iterator
from typing import Any

from nameplate_config import fields
from nameplate_conformance.drawing.negatives import is_json, wrong_together, wrong_values
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Strength, broken, law, require


@law("C17", "the schema tells files apart", level=1, needs=["C02", "C12"], strength=Strength.SHOULD)
def schema_tells_files_apart(case: Case, evidence: Evidence) -> None:
    """The JSON Schema of the class is one of draft 2020-12, accepts every file of the class, short ones and ones with
    keys of a newer version included, and rejects those that the class refuses for the type of a value, its bounds, its
    choices, its absence, its lack of effect beside another or the model_type. Editors and services check files by it
    without Python."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - costs a fifth of a second
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415

    schema = case.config_class.json_schema()
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        broken(f"it is no schema of draft 2020-12: {error.message}")
    judge = Draft202012Validator(json.loads(json.dumps(schema)))
    for what, right in _right_files(case):
        said = next((error.message for error in judge.iter_errors(right)), "")
        require(not said, f"the schema refuses {what}: {said}")
        evidence.count("files accepted")
    for what, wrong in _wrong_files(case):
        require(not judge.is_valid(wrong), f"the schema accepts a file with {what}")
        evidence.count("files refused")


def _right_files(case: Case) -> Iterator[tuple[str, Any]]:
    config = case.config()
    stored = json.loads(config.to_json_string())
    yield "a file of the class", stored
    yield "what to_diff_dict returns", json.loads(json.dumps(config.to_diff_dict()))
    yield "a file with a key that no field knows", {**stored, "zz_text": [None]}


def _wrong_files(case: Case) -> Iterator[tuple[str, Any]]:
    stored = json.loads(case.config().to_json_string())
    for field in fields(case.config_class):
        for wrong in filter(is_json, wrong_values(field.annotation)):
            yield f"{field.name}: {wrong!r}", {**stored, field.name: json.loads(json.dumps(wrong))}
        if field.required:
            yield f"no {field.name}", {name: value for name, value in stored.items() if name != field.name}
    for name, together in wrong_together(case.config_class, case.kwargs):
        defaults = {each.name: each.default for each in fields(case.config_class) if not each.required}
        said = {each: value for each, value in together.items() if each not in defaults or value != defaults[each]}
        if is_json(said):  # a short file: what is left out of it has its default, and the same effect
            model_type = {key: stored[key] for key in stored.keys() - {each.name for each in fields(case.config_class)}}
            yield f"{name} beside what leaves it without effect", {**model_type, **json.loads(json.dumps(said))}
    if case.config_class.model_type:
        yield "another model_type", {**stored, "model_type": f"{case.config_class.model_type}_of_another_kind"}
