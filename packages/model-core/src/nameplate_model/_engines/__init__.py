"""The ways from ranges of files to tensors on a device: one seam, and an engine behind it for each kind of device."""
