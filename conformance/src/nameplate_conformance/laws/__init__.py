"""The laws, one module a level. Importing this package defines all of them."""

from nameplate_conformance.laws import l0_harness as l0_harness
from nameplate_conformance.laws import l1_config_nested as l1_config_nested
from nameplate_conformance.laws import l1_config_schema as l1_config_schema
from nameplate_conformance.laws import l1_config_trip as l1_config_trip
from nameplate_conformance.laws import l1_config_values as l1_config_values
from nameplate_conformance.laws import l2_behaviour as l2_behaviour
from nameplate_conformance.laws import l2_build as l2_build
from nameplate_conformance.laws import l2_heads as l2_heads
from nameplate_conformance.laws import l3_files as l3_files
from nameplate_conformance.laws import l3_report as l3_report
from nameplate_conformance.laws import l3_trip as l3_trip
from nameplate_conformance.laws import l3_values as l3_values
from nameplate_conformance.laws import l4_auto as l4_auto
from nameplate_conformance.laws import l4_code as l4_code
from nameplate_conformance.laws import l4_machine as l4_machine
from nameplate_conformance.laws import l4_plugins as l4_plugins
from nameplate_conformance.laws import l4_registry as l4_registry
from nameplate_conformance.laws import l4_threads as l4_threads
from nameplate_conformance.laws import l4_trust as l4_trust
from nameplate_conformance.laws import l5_device as l5_device
from nameplate_conformance.laws import l6_compile as l6_compile
from nameplate_conformance.laws import l6_training as l6_training
from nameplate_conformance.laws import l7_ecosystem as l7_ecosystem
