"""What the plugin brings pytest to do: collect laws as items, run them, and report what they found."""
