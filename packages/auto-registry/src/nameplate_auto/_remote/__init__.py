"""Code that a checkpoint brings: what it would need, whether it is approved, and the one place that runs it.

The rooms, in the order in which a load goes through them: `references` reads `auto_map`, `syntax` and `closure` find
the files that its classes need, `repository_code` holds these and their hash, `trust` decides, `running` runs.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from nameplate_auto._refusals import level_of_the_caller
from nameplate_auto._remote.references import Reference, at_home, chosen_reference, read_references
from nameplate_auto._remote.repository_code import RemoteCode as RemoteCode
from nameplate_auto._remote.repository_code import collect_code
from nameplate_auto._remote.repository_code import read_remote_code as read_remote_code
from nameplate_auto._remote.running import class_beside, is_brought, load_class
from nameplate_auto._remote.trust import Trust as Trust
from nameplate_auto._remote.trust import TrustPolicy as TrustPolicy
from nameplate_auto._remote.trust import TrustRule as TrustRule
from nameplate_auto._remote.trust import check_approved, forbidden, refused
from nameplate_auto._remote.trust import check_trust as check_trust
from nameplate_auto.errors import RemoteCodeError, RemoteCodeRefusedError, RemoteCodeWarning
from nameplate_config import NameplateError, Source
from nameplate_config.wording import sentences

_warned: set[str] = set()


def remote_class(
    source: Source,
    values: Mapping[str, Any],
    auto_class: str,
    *,
    trust: Trust,
    code_revision: str | None = None,
    beside: type | None = None,
) -> type:
    """Return the class that the config of a checkpoint names for an Auto class, if its code may run.

    Args:
        source: The checkpoint.
        values: Its config.
        auto_class: The name of the Auto class.
        trust: Whether the code may run, see `Trust`.
        code_revision: The branch, tag or commit of the code, if it is not that of the checkpoint.
        beside: The config class of the same load, if it came from such code: what lies in the same repository comes
            from exactly the bytes that were approved then.

    Raises:
        RemoteCodeRefusedError: If it may not.
        RemoteCodeImportError: If it fails, or needs a package that is not installed.
        RemoteCodeError: If it is not whole, or not what `auto_map` promises.
    """
    possible = check_trust(trust) and not forbidden()
    where = source.where("config.json")
    references = at_home(read_references(values, where), source.repository)
    wanted = chosen_reference(references, auto_class, where)
    of_config = references.get("AutoConfig")
    if beside is not None and of_config is not None and of_config.repository == wanted.repository:
        found = class_beside(beside, wanted)
        if found is not None:
            return found
    if not possible:
        code = _code_to_refuse(source, wanted, references, trust=trust, code_revision=code_revision)
    else:
        code = collect_code(source, wanted, references.values(), code_revision=code_revision)
    check_approved(code, trust)
    if trust is True and not code.pinned:
        _warn(code)
    return load_class(code, wanted)


def sibling_class(config_class: type, values: Mapping[str, Any], auto_class: str) -> type | None:
    """Return the class that `auto_map` names for an Auto class, from the code that a config class came from.

    None if that did not come from such code. Nothing has to be approved again: it is part of what was.

    Raises:
        RemoteCodeError: If `auto_map` has no entry for the Auto class or one of another repository, or that code no
            such class.
    """
    if not values.get("auto_map"):
        return None
    where = f"the config of {config_class.__name__}"
    references = read_references(values, where)
    wanted = chosen_reference(references, auto_class, where)
    if wanted.repository == references.get("AutoConfig", wanted).repository:
        return class_beside(config_class, wanted)
    if not is_brought(config_class):
        return None
    message = sentences(
        f"auto_map in {where} names {str(wanted)!r} for {auto_class}, which is no part of the code of that config.",
        f"Load the model of its checkpoint: {auto_class}.from_pretrained.",
    )
    raise RemoteCodeError(message)


def _code_to_refuse(
    source: Source, wanted: Reference, references: Mapping[str, Reference], *, trust: Trust, code_revision: str | None
) -> RemoteCode:
    """Return code that is only looked at, to say what was refused.

    Raises:
        RemoteCodeRefusedError: If it cannot be looked at, or lies in another repository: nobody is asked for that.
    """
    reason = f"it lies in the repository {wanted.repository!r}, which was not asked" if wanted.repository else ""
    way = f"Look at it first: read_remote_code({source.name!r})."
    try:
        if not reason:
            return collect_code(source, wanted, references.values(), code_revision=code_revision)
    except NameplateError as error:
        reason = f"it is not whole: {error}"
        way = "Import the package that defines the architecture, or register its classes: then no code is needed."
    message = sentences(
        refused(source.name, trust),
        f"The code is not described here: {reason.rstrip('.')}.",
        way,
    )
    raise RemoteCodeRefusedError(message)


def _warn(code: RemoteCode) -> None:
    """Say once of each code that nothing holds it in place."""
    if code.digest in _warned:
        return
    message = sentences(
        f"{code.name!r} runs code of {code.repository!r}, whatever its branch holds next time.",
        f'Pin what ran now: trust_remote_code="{code.digest}"',
    )
    warnings.warn(message, RemoteCodeWarning, stacklevel=level_of_the_caller())
    _warned.add(code.digest)  # not before: where warnings are errors, it is one every time
