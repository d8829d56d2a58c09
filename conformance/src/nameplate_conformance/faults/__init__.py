"""Faults: kill a save, tear its writes, fail its calls and cut the power at every change, and see what is left.

`sweep` takes any saver, and `contend` lets several save and load at once. Where the system permits it, system calls
are traced (`unsupported` says why not), so that no change of any language or thread escapes; elsewhere Python's own
functions are patched.
"""

from nameplate_conformance.faults.contention import Contention as Contention
from nameplate_conformance.faults.contention import contend as contend
from nameplate_conformance.faults.fault import EACCES as EACCES
from nameplate_conformance.faults.fault import EIO as EIO
from nameplate_conformance.faults.fault import ENOSPC as ENOSPC
from nameplate_conformance.faults.fault import FAULTS as FAULTS
from nameplate_conformance.faults.fault import KILL as KILL
from nameplate_conformance.faults.fault import LASTING_EIO as LASTING_EIO
from nameplate_conformance.faults.fault import LASTING_ENOSPC as LASTING_ENOSPC
from nameplate_conformance.faults.fault import POWER_LOSS as POWER_LOSS
from nameplate_conformance.faults.fault import SHORT as SHORT
from nameplate_conformance.faults.fault import TORN as TORN
from nameplate_conformance.faults.fault import Call as Call
from nameplate_conformance.faults.fault import Fault as Fault
from nameplate_conformance.faults.ptrace import unsupported as unsupported
from nameplate_conformance.faults.sweep import OUTCOMES as OUTCOMES
from nameplate_conformance.faults.sweep import Run as Run
from nameplate_conformance.faults.sweep import Sweep as Sweep
from nameplate_conformance.faults.sweep import sweep as sweep

__all__ = [
    "EACCES",
    "EIO",
    "ENOSPC",
    "FAULTS",
    "KILL",
    "LASTING_EIO",
    "LASTING_ENOSPC",
    "OUTCOMES",
    "POWER_LOSS",
    "SHORT",
    "TORN",
    "Call",
    "Contention",
    "Fault",
    "Run",
    "Sweep",
    "contend",
    "sweep",
    "unsupported",
]
