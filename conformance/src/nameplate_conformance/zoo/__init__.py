"""Deliberately broken architectures: the proof that every law can fail, and that no other law fails in its place.

Each `Mutant` breaks one law and should be rejected by exactly that law; `selftest` shows it. A mutant is a small,
plausible mistake, mostly one that somebody has really made. The modules are sorted by the level of the law.
"""

from nameplate_conformance.zoo.broken_config_parts import PART_MUTANTS
from nameplate_conformance.zoo.broken_configs import CONFIG_MUTANTS
from nameplate_conformance.zoo.broken_damage import DAMAGE_MUTANTS
from nameplate_conformance.zoo.broken_devices import DEVICE_MUTANTS
from nameplate_conformance.zoo.broken_ecosystem import ECOSYSTEM_MUTANTS
from nameplate_conformance.zoo.broken_files import FILE_MUTANTS
from nameplate_conformance.zoo.broken_harness import HARNESS_MUTANTS
from nameplate_conformance.zoo.broken_history import HISTORY_MUTANTS
from nameplate_conformance.zoo.broken_honesty import HONESTY_MUTANTS
from nameplate_conformance.zoo.broken_modules import MODULE_MUTANTS
from nameplate_conformance.zoo.broken_outputs import OUTPUT_MUTANTS
from nameplate_conformance.zoo.broken_persistence import PERSISTENCE_MUTANTS
from nameplate_conformance.zoo.broken_ranks import RANK_MUTANTS
from nameplate_conformance.zoo.broken_registry import REGISTRY_MUTANTS
from nameplate_conformance.zoo.broken_reports import REPORT_MUTANTS
from nameplate_conformance.zoo.broken_running import RUNNING_MUTANTS
from nameplate_conformance.zoo.broken_saves import SAVE_MUTANTS
from nameplate_conformance.zoo.broken_sequences import SEQUENCE_MUTANTS
from nameplate_conformance.zoo.broken_training import TRAINING_MUTANTS
from nameplate_conformance.zoo.broken_trust import TRUST_MUTANTS
from nameplate_conformance.zoo.museum import MUSEUM_MUTANTS, exhibited
from nameplate_conformance.zoo.reference import Mutant as Mutant
from nameplate_conformance.zoo.reference import reference as reference
from nameplate_conformance.zoo.relatives import relatives as relatives

_BRED: tuple[Mutant, ...] = (
    *HARNESS_MUTANTS,
    *CONFIG_MUTANTS,
    *PART_MUTANTS,
    *MODULE_MUTANTS,
    *OUTPUT_MUTANTS,
    *PERSISTENCE_MUTANTS,
    *FILE_MUTANTS,
    *REPORT_MUTANTS,
    *REGISTRY_MUTANTS,
    *TRUST_MUTANTS,
    *DEVICE_MUTANTS,
    *TRAINING_MUTANTS,
    *SAVE_MUTANTS,
    *SEQUENCE_MUTANTS,
    *RUNNING_MUTANTS,
    *RANK_MUTANTS,
    *ECOSYSTEM_MUTANTS,
    *DAMAGE_MUTANTS,
    *HISTORY_MUTANTS,
    *HONESTY_MUTANTS,
    *MUSEUM_MUTANTS,
)

MUTANTS = tuple(exhibited(_BRED))
"""Every mutant of the zoo."""
