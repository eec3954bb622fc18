from itertools import islice

import pytest

from mvfer.training.sampler import EpochBatches, batches_of, equal_shares


def take(count, **settings):
    return list(islice(EpochBatches(range(10), 2, seed=1, **settings), count))


def test_starting_later_gives_the_rest_of_the_same_sequence():
    assert take(12)[7:] == take(5, start=7)


def test_ranks_share_the_global_batch_without_repetition():
    first, second = take(2, rank=0, world=2), take(2, rank=1, world=2)
    rows = [row for batch in first + second for _, row in batch]
    assert len(set(rows)) == len(rows) == 8


def test_each_epoch_sees_a_row_once_in_another_order():
    epochs = [[row for batch in take(10)[start : start + 5] for _, row in batch] for start in (0, 5)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


def test_too_few_rows_for_one_batch_are_refused():
    with pytest.raises(ValueError, match="10 training rows do not fill one batch of 8 x 2"):
        EpochBatches(range(10), 8, seed=0, world=2)


def test_scans_of_a_subject_come_together_and_each_row_once():
    subjects = [row % 4 for row in range(24)]  # six rows of each of four people
    batches = list(islice(EpochBatches(subjects, 6, seed=3, scans_per_subject=3), 8))
    for epoch in (batches[:4], batches[4:]):
        rows = [row for batch in epoch for _, row in batch]
        assert sorted(rows) == list(range(24))
        groups = [{subjects[row] for row in rows[first : first + 3]} for first in range(0, 24, 3)]
        assert all(len(group) == 1 for group in groups)
    assert batches[:4] != batches[4:]


CAPTIONED = [row in (2, 5, 7) for row in range(20)]


def mixed(count, captioned=CAPTIONED, size=4, **settings):
    return list(islice(batches_of(range(20), size, captioned=captioned, seed=1, **settings), count))


def test_few_captioned_rows_are_half_of_every_batch():
    batches = mixed(9)
    assert [[CAPTIONED[row] for _, row in batch] for batch in batches] == [[True, True, False, False]] * 9
    assert {row for batch in batches for _, row in batch if not CAPTIONED[row]} == {
        r for r in range(20) if not CAPTIONED[r]
    }
    assert {row for batch in batches for _, row in batch if CAPTIONED[row]} == {2, 5, 7}
    assert mixed(9)[4:] == mixed(5, start=4)


def test_ranks_share_captioned_and_other_rows():
    ranks = [mixed(1, size=2, rank=rank, world=2)[0] for rank in (0, 1)]
    (whole,) = mixed(1)
    assert sorted(ranks[0] + ranks[1]) == sorted(whole)


def test_fewer_captioned_rows_than_half_a_batch_all_come_in_each():
    for batch in mixed(5, size=12):
        assert len(batch) == 12 and {row for _, row in batch if CAPTIONED[row]} == {2, 5, 7}


@pytest.mark.parametrize("captioned", [None, [True] * 20, [False] * 20, [row % 2 == 0 for row in range(20)]])
def test_without_a_minority_of_captioned_rows_all_are_alike(captioned):
    assert mixed(7, captioned) == list(islice(EpochBatches(range(20), 4, seed=1), 7))


def test_sources_have_equal_shares_however_many_rows_they_have():
    sources = [0] * 40 + [1] * 10 + [2] * 3
    batches = list(islice(batches_of(range(53), 12, sources=sources, seed=1), 20))
    for batch in batches:
        assert [sum(sources[row] == source for _, row in batch) for source in range(3)] == [5, 4, 3]
    small = [row for batch in batches for _, row in batch if sources[row] == 1]
    assert len(small) == 80 and min(small.count(row) for row in range(40, 50)) >= 5, "it comes round more often"
    assert {epoch for epoch, row in batches[-1] if sources[row] == 2} == {19}


def test_shares_are_as_equal_as_can_be():
    assert equal_shares([100, 100], 7) == [3, 4]
    assert equal_shares([100, 2, 100], 12) == [5, 2, 5]
    assert equal_shares([3], 9) == [9], "too few rows: the sampler says so"
