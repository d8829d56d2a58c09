"""A package of somebody's own: what `nameplate-conformance new` writes, and the templates that it writes it from."""

from nameplate_conformance.scaffold.skeleton import Names as Names
from nameplate_conformance.scaffold.skeleton import write_skeleton as write_skeleton
