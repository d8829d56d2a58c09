"""Config classes of every style, to judge the config library itself: each is an architecture without a model.

Their modules import no torch, which is one of the laws. `SAMPLES` in `architectures` declares them.
"""
