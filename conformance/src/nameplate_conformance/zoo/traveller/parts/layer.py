"""One layer of the perceptron."""

from torch import Tensor, nn

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Layer(nn.Module):
    """A linear map and what follows it."""

    def __init__(self, width: int, act: str, *, bias: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=bias)
        self.act = _ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        """Return what goes into the next layer."""
        return self.act(self.linear(x))
