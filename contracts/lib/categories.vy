# pragma version ==0.4.3
"""
@title Categories: the size classes of tasks
@license Apache-2.0
@notice Categories are only ever added, never changed, so a deal's deadlines are known when it is made.
"""

from . import packing
from . import state
from . import types

uses: state

event CreateCategory:
    catid: uint256
    name: String[types.MAX_TEXT]
    description: String[types.MAX_TEXT]
    workClockTimeRef: uint256


@internal
def create(name: String[types.MAX_TEXT], description: String[types.MAX_TEXT], time_reference: uint256) -> uint256:
    """
    @dev Appends a category and returns its id. Reverts without data for a time reference of 2^32 seconds or more.
    """
    category: uint256 = state.category_count
    state.category_count = category + 1
    state.categories[category] = packing.category(time_reference)
    state.category_names[category] = name
    state.category_descriptions[category] = description
    log CreateCategory(
        catid=category, name=name, description=description, workClockTimeRef=time_reference
    )
    return category
