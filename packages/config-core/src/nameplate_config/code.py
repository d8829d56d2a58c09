"""Code beside a checkpoint: copied there when it is saved, and what whoever runs it there has to know.

For the packages of the family; users call `register_for_auto_class`. Nothing is imported or run here.
"""

from nameplate_config._auto_map import CodeBeside, auto_class_name, code_beside, registered_name
from nameplate_config._code import SourceFiles, source_files
from nameplate_config._code_files import drafted_code
from nameplate_config._code_rules import (
    FILES_ATTRIBUTE,
    MOST_BYTES,
    MOST_DATA_FILES,
    MOST_FILES,
    MOST_UNITS,
    MOST_UNITS_OF_ONE,
    data_names,
    digest_of,
    is_of_checkpoint,
    units,
)

__all__ = [
    "FILES_ATTRIBUTE",
    "MOST_BYTES",
    "MOST_DATA_FILES",
    "MOST_FILES",
    "MOST_UNITS",
    "MOST_UNITS_OF_ONE",
    "CodeBeside",
    "SourceFiles",
    "auto_class_name",
    "code_beside",
    "data_names",
    "digest_of",
    "drafted_code",
    "is_of_checkpoint",
    "registered_name",
    "source_files",
    "units",
]
