"""An architecture that can travel beside its checkpoint: its modules import one another relatively, and torch.

For laws about code that a checkpoint brings. Nothing here may import this package by its name: where the code goes,
the package is not.
"""
