"""From the typed fields of a config class to the examples that laws are judged on."""
