"""The laws, one module a level. Importing this package defines all of them."""

from nameplate_conformance.laws import l0_harness as l0_harness
from nameplate_conformance.laws import l1_config_nested as l1_config_nested
from nameplate_conformance.laws import l1_config_schema as l1_config_schema
from nameplate_conformance.laws import l1_config_trip as l1_config_trip
from nameplate_conformance.laws import l1_config_values as l1_config_values
from nameplate_conformance.laws import l2_module as l2_module
from nameplate_conformance.laws import l3_persistence as l3_persistence
from nameplate_conformance.laws import l4_registry as l4_registry
from nameplate_conformance.laws import l5_device as l5_device
