"""What a model says about itself when it is asked; imported only then."""

from torch import nn


def summary(model: nn.Module) -> str:
    """Return the number of parameters, for people."""
    return f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters"
