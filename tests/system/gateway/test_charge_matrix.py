"""What is charged when a call does not end well: the matrix of docs/billing.md, cell by cell."""

from itertools import product

import pytest

from tests.support.gateway.charge_matrix import (
    ALL,
    ERROR,
    GONE,
    NOTHING,
    SOME,
    STOP,
    TIME_OUT,
    WHOLE,
    Cell,
    Played,
    cells,
    play,
)

CELLS = cells()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[Cell, Played]:
    """Every cell as it was played through a gateway."""
    return play(tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_cell_of_the_matrix(played: dict[Cell, Played], cell: Cell) -> None:
    """Each is charged what the page says, at most once, and marked as estimated when no usage of the end came."""
    one = played[cell]
    assert one.charged_nano == cell.expected_nano(len(one.body)), one.charges
    assert len(one.charges) <= 1
    if cell.words != NOTHING:
        assert [charge.estimated for charge in one.charges] == [cell.words != "reported"]


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.words == NOTHING], ids=str)
def test_what_is_not_charged(played: dict[Cell, Played], cell: Cell) -> None:
    """Of an upstream that failed nothing is booked; of a call that we stopped, what the upstream may bill for it."""
    lost_nano = sum(charge.uncollected_nano for charge in played[cell].charges)
    assert (lost_nano > 0) == (cell.ending == STOP)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.ending_is_late], ids=str)
def test_a_late_answer_is_a_504(played: dict[Cell, Played], cell: Cell) -> None:
    """Whether or not it is read on."""
    assert played[cell].status == 504


def test_the_matrix_is_whole() -> None:
    """Each way of delivery, ending and usage has its row, but for those that cannot be."""
    impossible = {
        # A usage before the first event is an event, and without an event no upstream that failed has told one.
        *((NOTHING, ending, "partial") for ending in (GONE, ERROR, TIME_OUT, STOP)),
        *(
            (kind, ending, usage)
            for kind in (NOTHING, WHOLE)
            for ending in (ERROR, STOP)
            for usage in ("reported", "zero")
        ),
        # The usage of the end comes behind the finish.
        *((SOME, ending, "reported") for ending in (ERROR, TIME_OUT, STOP)),
        # What comes in one piece has one usage.
        *((WHOLE, ending, "partial") for ending in (GONE, ERROR, TIME_OUT, STOP)),
    }
    every = product(
        (NOTHING, SOME, ALL, WHOLE), (GONE, ERROR, TIME_OUT, STOP), ("reported", "absent", "zero", "partial")
    )
    assert {(cell.delivered, cell.ending, cell.usage) for cell in CELLS} == set(every) - impossible
