"""Whom a node keeps links with."""

from kit.people import Randomness
from sealmesh.gossip.overlay import Neighbours

CROWD = [bytes([number]) * 32 for number in range(60)]


def test_there_are_eight_links_or_all():
    neighbours = Neighbours(Randomness())
    assert set(neighbours.step([], CROWD[:5]).keep) == set(CROWD[:5])
    neighbours = Neighbours(Randomness())
    step = neighbours.step(CROWD[:3], CROWD)  # three dialled this node
    assert len(set(step.keep)) == 5
    assert not set(step.keep) & set(CROWD[:3])
    assert neighbours.step([*CROWD[:3], *step.keep], CROWD) == ((), ())


def test_they_are_chosen_at_random():
    kept = {Neighbours(Randomness(str(seed))).step([], CROWD).keep for seed in range(20)}
    assert len(kept) == 20
    assert len(set().union(*kept)) > 40


def test_who_is_away_is_kept_and_others_are_found_meanwhile():
    neighbours = Neighbours(Randomness())
    first = neighbours.step([], CROWD).keep
    up = first[:4]
    step = neighbours.step(up, CROWD)
    assert len(step.keep) == 4
    assert step.forget == ()
    assert set(neighbours.kept) == {*first, *step.keep}


def test_of_too_many_the_one_that_was_away_longest_is_given_up():
    neighbours = Neighbours(Randomness())
    first = neighbours.step([], CROWD).keep
    second = neighbours.step(first[:4], CROWD).keep  # four have gone; in their place come four
    third = neighbours.step([*first[:4], second[0]], CROWD).keep  # of those, three have gone
    assert len(neighbours.kept) == 15
    up = [*first[:4], second[0], third[0]]
    step = neighbours.step(up, CROWD)  # two more are needed, and there is room for one
    assert len(step.keep) == 2
    assert len(step.forget) == 1
    assert set(step.forget) <= set(first[4:])
    assert len(neighbours.kept) == 16


def test_who_has_left_is_kept_no_more():
    neighbours = Neighbours(Randomness())
    first = neighbours.step([], CROWD[:8]).keep
    step = neighbours.step(first[1:], CROWD[1:8] if first[0] == CROWD[0] else [p for p in CROWD[:8] if p != first[0]])
    assert step.forget == (first[0],)
    assert first[0] not in neighbours.kept
