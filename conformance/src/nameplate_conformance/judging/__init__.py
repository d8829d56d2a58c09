"""From architectures, laws and devices to results: loading, scheduling, trying, in this process or in workers."""
