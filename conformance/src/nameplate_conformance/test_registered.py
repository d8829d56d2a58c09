"""What ``pytest --pyargs nameplate_conformance`` collects: every registered architecture, or those of ``--arch``."""

from nameplate_conformance.testing import conformance_tests

test_conformance = conformance_tests()
