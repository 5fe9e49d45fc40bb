"""What may be said to a model beside an example's inputs, and still travels on from here.

Callers' own words, passed on from process to process. Called wherever they come
in: from a link, and from HTTP.
"""

from __future__ import annotations

from typing import Any, Dict

from wire.errors import WireError

#: What is unpacked here is packed again in other messages, one level deeper, and msgpack
#: itself stops at some hundreds: refused far below that.
MAX_PARAMETER_DEPTH = 32


def checked_parameters(value: Any) -> Dict[str, Any]:
    """An example's parameters as they came from outside, if they can travel on from here.

    Raises:
        WireError: not a map, nested too deep, or an integer of more than 64 bits in it.
    """
    if not isinstance(value, dict):
        raise WireError("parameters is not a map")
    _check_parameter(value, MAX_PARAMETER_DEPTH)
    return value


def _check_parameter(value: Any, levels: int) -> None:
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise WireError("parameters hold an integer that does not fit into 64 bits")
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return
    if not levels:
        raise WireError(f"parameters are nested more than {MAX_PARAMETER_DEPTH} deep")
    for item in value:
        _check_parameter(item, levels - 1)
