"""The main job of the family on real images: train, save, load in another process, judge, report.

Run it from the top of the repository with ``hatch run quickstart``.
"""
