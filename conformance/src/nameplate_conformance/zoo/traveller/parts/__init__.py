"""The modules that the model is made of."""
