from typing import assert_type
from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel, LoadReport


class LineConfig(PreTrainedConfig):
    model_type = "line"
    width: int = 3


class Line(PreTrainedModel):
    def __init__(self, config: LineConfig) -> None:
        super().__init__(config)


def f(flag: bool) -> None:
    m = Line(LineConfig())
    assert_type(m, Line)
    Line(3)
    Line()
    assert_type(Line.from_pretrained("x"), Line)
    assert_type(Line.from_pretrained("x", output_loading_info=True), tuple[Line, LoadReport])
    assert_type(Line.from_pretrained("x", output_loading_info=flag), Line | tuple[Line, LoadReport])
