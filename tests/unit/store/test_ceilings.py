"""What was seen of output ceilings is kept, on both databases."""

from tokenbooth.store.ceilings import CeilingKey, CeilingRow, load_ceilings, note_obeyed, save_ceilings
from tokenbooth.store.engine import Store

KEY = CeilingKey("up", "http://127.0.0.1:1/v1", "m", "openai.chat", "max_tokens")
OTHER = KEY._replace(field="n_predict")


def test_what_was_seen_is_read_back(store: Store) -> None:
    """A row for each upstream, address, model, format and field; a later look takes the place of an earlier one."""
    first = [CeilingRow(KEY, 5, None, 0, 0), CeilingRow(OTHER, None, 7, 10, 8_192)]
    store.write_now(save_ceilings, first)
    assert sorted(store.read_now(load_ceilings)) == sorted(first)
    store.write_now(save_ceilings, [CeilingRow(KEY, None, 9, 1, 100)])
    assert sorted(store.read_now(load_ceilings), key=lambda row: row.key) == [
        CeilingRow(KEY, None, 9, 1, 100),
        first[1],
    ]


def test_one_that_is_asked_and_obeys_is_noted(store: Store) -> None:
    """Also where nothing was known; that one was exceeded stays known."""
    store.write_now(save_ceilings, [CeilingRow(KEY, None, 9, 1, 100)])
    store.write_now(note_obeyed, KEY, now_us=20)
    store.write_now(note_obeyed, OTHER, now_us=30)
    assert sorted(store.read_now(load_ceilings), key=lambda row: row.key) == [
        CeilingRow(KEY, 20, 9, 1, 100),
        CeilingRow(OTHER, 30, None, 0, 0),
    ]
