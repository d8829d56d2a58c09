"""Figures: ours against Transformers, side by side in one run. Start them with ``hatch run bench``."""
