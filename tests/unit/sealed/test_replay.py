"""Replay tags: nothing evicted, nothing forgotten before its time, nothing taken after it."""

from sealmesh.sealed.replay import Insertion, ReplayTags


def test_a_tag_is_new_once() -> None:
    tags = ReplayTags()
    assert tags.insert(b"a" * 16) is Insertion.NEW
    assert tags.insert(b"a" * 16) is Insertion.SEEN
    assert tags.insert(b"b" * 16) is Insertion.NEW
    assert len(tags) == 2


def test_full_evicts_nothing() -> None:
    tags = ReplayTags(maximum=2)
    first, second, third = (bytes([i]) * 16 for i in range(3))
    assert [tags.insert(tag) for tag in (first, second, third)] == [Insertion.NEW, Insertion.NEW, Insertion.FULL]
    assert [tags.insert(tag) for tag in (first, second, third)] == [Insertion.SEEN, Insertion.SEEN, Insertion.FULL]


def test_closed_takes_nothing() -> None:
    tags = ReplayTags()
    tags.insert(b"a" * 16)
    tags.close()
    assert tags.insert(b"a" * 16) is Insertion.CLOSED
    assert tags.insert(b"b" * 16) is Insertion.CLOSED
    assert len(tags) == 0
    assert "closed" in repr(tags)
