"""What several ranks do together, on torch's own engine: loading and saving in slices, and how they agree.

Modules here may import `torch.distributed.tensor` when they are themselves imported. The rest of the package imports
them in functions only, so that a process with one rank pays for none of this.
"""
