"""What is trained on many ranks: the network of the other examples, normalised image by image, and its numbers."""

from examples.training.recipe import CONFIG, Recipe

PER_IMAGE = CONFIG.copy(norm_layer="groupnorm1", zero_init_last=False)
"""The network of the other examples with another normalisation.

Batch normalisation takes its statistics from the images that one rank sees. They would depend on the number of ranks,
and each rank would have running ones of its own. Group normalisation looks at one image, and so gives the same on any
number of ranks. It learns faster where the last one of a block does not begin at zero.
"""


def recipe_for(*, epochs: int = 20, batch: int = 36, seed: int = 0) -> Recipe:
    """Return the numbers that suit this normalisation: smaller batches and a higher rate than those of the others.

    Args:
        epochs: How often every training image is seen.
        batch: Images per step on all ranks together. 36 are as many on each of 2, 3, 4 or 6 ranks.
        seed: Where the random numbers start.
    """
    return Recipe(epochs=epochs, batch=batch, seed=seed, peak_rate=1e-2)
