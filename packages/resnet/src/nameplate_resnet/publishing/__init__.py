"""Publishing: what goes into the repository of a model, what its card says, and by what that is measured and proven."""
