"""One small ResNet, trained on real images in three ways: with a loop of one's own, with `Trainer`, with Lightning.

Run one from the top of the repository with ``hatch run train``, ``hatch run train trainer`` or
``hatch run train lightning``. They share the recipe, the data, the judging and the pictures, and differ in who trains.
"""
