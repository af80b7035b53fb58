"""Ids and keys."""

from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.keys import KeyKind, is_well_formed
from tokenbooth.kit.ids import IdPrefix, new_id, new_key

instants = st.integers(min_value=0, max_value=4_102_444_800_000_000)


@given(instants, instants)
def test_ids_sort_by_time(first_us: int, second_us: int) -> None:
    """The text of an id sorts as the time of its creation, for more than a century."""
    if first_us == second_us:
        return
    ids = {at: new_id(IdPrefix.REQUEST, at) for at in (first_us, second_us)}

    assert sorted(ids.values()) == [ids[at] for at in sorted(ids)]


def test_ids_of_one_instant_are_different() -> None:
    """A million requests a second would still not collide soon."""
    ids = {new_id(IdPrefix.TRANSFER, 5) for _ in range(20_000)}

    assert len(ids) == 20_000
    assert {(one[:3], len(one)) for one in ids} == {("tr_", 29)}


def test_prefixes_are_different() -> None:
    """No kind of id can be taken for another."""
    assert len({str(prefix) for prefix in IdPrefix}) == len(IdPrefix)


def test_keys_are_well_formed_and_different() -> None:
    """Each kind passes its own check."""
    for kind in KeyKind:
        keys = {new_key(kind) for _ in range(100)}
        assert len(keys) == 100
        assert all(is_well_formed(key, kind) for key in keys)
