"""What laws measure with: bits, poison, independent readers, fresh processes, models that carry something."""
