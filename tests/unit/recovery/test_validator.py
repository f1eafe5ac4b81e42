"""The start-up rules and the ranking, one case for each row of their tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

import pytest

from qpidha.errors import StoreDamaged, StoreDirty, StoreMismatch
from qpidha.journal import StoreState, StoreStatus
from qpidha.recovery.findings import Finding, Severity
from qpidha.recovery.ranking import CRITERIA, rank
from qpidha.recovery.validator import START_RULES, Verdict, check_join, check_start
from qpidha.settings import Settings
from qpidha.types import Member, Record

OURS, OTHERS = UUID(int=1), UUID(int=2)
EPOCH, OLD_EPOCH = UUID(int=11), UUID(int=12)
SETTINGS = Settings()
EMPTY, CLEAN, DIRTY, DAMAGED = StoreState.EMPTY, StoreState.CLEAN, StoreState.DIRTY, StoreState.DAMAGED


def status(state: StoreState = CLEAN, **changes: object) -> StoreStatus:
    if state is EMPTY:
        return StoreStatus(node="a", epoch=EPOCH).with_(**changes)
    return StoreStatus(node="a", epoch=EPOCH, cluster=OURS, generation=5, state=state).with_(**changes)


def record(*members: tuple[str, UUID], generation: int = 5, cluster: UUID = OURS) -> Record:
    return Record(
        cluster=cluster,
        generation=generation,
        primary=None,
        members=frozenset(Member(node, epoch) for node, epoch in members),
    )


LISTED, WITH_OLD_EPOCH, NOT_LISTED = record(("a", EPOCH)), record(("a", OLD_EPOCH)), record(("b", EPOCH))

STARTS = [
    # store              record                        verdict         code
    (status(EMPTY), None, Verdict.FOUND, "may-found"),
    (status(EMPTY), NOT_LISTED, Verdict.JOIN, "new"),
    (status(EMPTY), WITH_OLD_EPOCH, Verdict.JOIN, "wiped"),
    (status(EMPTY), LISTED, Verdict.MEMBER, "founder"),
    (status(CLEAN), LISTED, Verdict.MEMBER, "member"),
    (status(DIRTY), LISTED, Verdict.MEMBER, "member"),
    (status(CLEAN), NOT_LISTED, Verdict.JOIN, "not-member"),
    (status(DIRTY), NOT_LISTED, Verdict.JOIN, "not-member"),
    (status(CLEAN), WITH_OLD_EPOCH, Verdict.JOIN, "other-epoch"),
    (status(CLEAN, generation=4), record(("a", EPOCH), generation=9), Verdict.MEMBER, "member"),
    (status(CLEAN), None, Verdict.REFUSE, "no-record"),
    (status(DIRTY), None, Verdict.REFUSE, "no-record"),
    (status(CLEAN, cluster=None), None, Verdict.REFUSE, "no-record"),
    (status(DAMAGED), LISTED, Verdict.REFUSE, "damaged"),
    (status(DAMAGED), None, Verdict.REFUSE, "damaged"),
    (status(CLEAN), record(("a", EPOCH), cluster=OTHERS), Verdict.REFUSE, "other-cluster"),
    (status(DIRTY), record(cluster=OTHERS), Verdict.REFUSE, "other-cluster"),
    (status(CLEAN, generation=9), record(("a", EPOCH), generation=2), Verdict.REFUSE, "generation-ahead"),
]


@pytest.mark.parametrize(
    ("store", "found", "verdict", "code"), STARTS, ids=[f"{s.state.value}-{c}" for s, _, _, c in STARTS]
)
def test_start_rules(store: StoreStatus, found: Record | None, verdict: Verdict, code: str) -> None:
    decision = check_start(store, found, SETTINGS)
    assert (decision.verdict, decision.finding.code) == (verdict, code)
    assert decision.promotable == (verdict is Verdict.MEMBER)
    assert (decision.error is not None) == (verdict is Verdict.REFUSE)
    assert (decision.finding.severity is Severity.ERROR) == (verdict is Verdict.REFUSE)
    assert "{" not in decision.finding.text


def test_every_start_rule_is_needed_by_a_case() -> None:
    assert {code for _, _, _, code in STARTS} | {"dirty-refused"} == {rule.code for rule in START_RULES}


def test_dirty_start_can_be_refused() -> None:
    strict = Settings(dirty_start="refuse")
    decision = check_start(status(DIRTY), LISTED, strict)
    assert decision.finding.code == "dirty-refused"
    with pytest.raises(StoreDirty):
        decision.require()
    assert check_start(status(CLEAN), LISTED, strict).promotable


@pytest.mark.parametrize(
    ("store", "found", "error"),
    [
        (status(DAMAGED), LISTED, StoreDamaged),
        (status(CLEAN), record(cluster=OTHERS), StoreMismatch),
        (status(CLEAN, generation=9), record(generation=2), StoreMismatch),
        (status(CLEAN), None, StoreMismatch),
    ],
)
def test_refusals_raise(store: StoreStatus, found: Record | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_start(store, found, SETTINGS).require()


def test_an_accepted_start_returns_itself() -> None:
    decision = check_start(status(), LISTED, SETTINGS)
    assert decision.require() is decision


def test_reset_manager_is_explained_to_the_operator() -> None:
    """T31: the message names both generations and what to do."""
    text = check_start(status(generation=9), record(generation=2), SETTINGS).finding.text
    assert "9" in text and "2" in text and "set the record to the highest generation" in text


def test_join_checks_cluster_and_generation() -> None:
    assert check_join(status(), OURS, 5) is None
    assert check_join(status(EMPTY), OTHERS, 1) is None
    for finding, code in (
        (check_join(status(), OTHERS, 5), "other-cluster"),
        (check_join(status(), OURS, 4), "stale-primary"),
    ):
        assert finding is not None and finding.code == code


# --- ranking -----------------------------------------------------------------------------------------


@dataclass
class Lines:
    queue: UUID
    next: int
    held: int


@dataclass
class Store:
    name: str
    status: StoreStatus | None
    queues: list[Lines] = field(default_factory=lambda: [Lines(UUID(int=7), 10, 5)])
    damage: list[str] = field(default_factory=list)


def store(name: str, state: StoreState = DIRTY, *, next: int = 10, held: int = 5, **changes: object) -> Store:
    return Store(name, status(state, node=name, **changes), [Lines(UUID(int=7), next, held)])


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


BETTER_AND_WORSE = [
    (store("z", generation=9), store("a", CLEAN, next=99, primary=True), "lower-generation"),
    (store("z", primary=True), store("a", CLEAN, next=99), "not-primary"),
    (store("z", CLEAN), store("a", DIRTY, next=99), "not-clean"),
    (store("z", next=11), store("a", held=9), "fewer-given-out"),
    (store("z", held=6), store("a"), "fewer-held"),
    (store("a"), store("z"), "equal"),
]


@pytest.mark.parametrize(("better", "worse", "code"), BETTER_AND_WORSE, ids=[c for *_, c in BETTER_AND_WORSE])
def test_ranking_criteria(better: Store, worse: Store, code: str) -> None:
    for order in ([better, worse], [worse, better]):
        first, second = rank(order)
        assert (first.name, first.place, second.name, second.place) == (better.name, 1, worse.name, 2)
        assert codes(first.findings) == ["best"] and codes(second.findings) == [code]
        assert not first.conflict


def test_every_criterion_is_needed_by_a_case() -> None:
    cases = {code for *_, code in BETTER_AND_WORSE} - {"equal"}
    assert cases | {"not-member"} == {criterion.code for criterion in CRITERIA}


def test_members_of_the_record_lead() -> None:
    known = record(("m", EPOCH), generation=5)
    first, second = rank([store("x", CLEAN, primary=True, next=99), store("m")], known)
    assert first.name == "m" and codes(second.findings) == ["not-member"]


def test_no_member_present_is_a_warning() -> None:
    (first,) = rank([store("x")], record(("m", EPOCH)))
    assert codes(first.findings) == ["best", "no-member"]


def test_excluded_stores_come_last_and_say_why() -> None:
    broken = store("broken", generation=99)
    broken.damage = ["batch 3 fails its checksum"]
    stores = [
        broken,
        Store("gone", None),
        store("foreign", cluster=OTHERS),
        store("marked", DAMAGED),
        Store("new", status(EMPTY)),
        store("good"),
    ]
    ranked = rank(stores, record(("good", EPOCH)))
    assert [(r.name, r.place) for r in ranked] == [
        ("good", 1),
        ("broken", None),
        ("gone", None),
        ("foreign", None),
        ("marked", None),
        ("new", None),
    ]
    assert [codes(r.findings)[0] for r in ranked[1:]] == [
        "damaged",
        "damaged",
        "other-cluster",
        "damaged",
        "empty",
    ]
    assert ranked[1].findings[1].text == "batch 3 fails its checksum"


def test_stores_of_several_clusters_are_not_compared() -> None:
    ranked = rank([store("a"), store("b", cluster=OTHERS)])
    assert [r.place for r in ranked] == [None, None]
    assert {codes(r.findings)[0] for r in ranked} == {"several-clusters"}


def test_clean_stores_of_different_stops_conflict() -> None:
    """H56: of one generation, from different stops, with different content: the operator decides."""
    one, other = store("a", CLEAN, stop=UUID(int=21)), store("b", CLEAN, next=11, stop=UUID(int=22))
    ranked = rank([one, other])
    assert all(r.conflict and "stop-conflict" in codes(r.findings) for r in ranked)


def test_no_conflict_where_the_stores_say_enough() -> None:
    same = [store("a", CLEAN, stop=UUID(int=21)), store("b", CLEAN, stop=UUID(int=22))]
    newer = [store("a", CLEAN, stop=UUID(int=21)), store("b", CLEAN, next=9, generation=6, stop=UUID(int=22))]
    dirty = [store("a", CLEAN, stop=UUID(int=21)), store("b", DIRTY, next=11)]
    for stores in (same, newer, dirty):
        assert not any(r.conflict for r in rank(stores))
    known = record(("a", EPOCH))
    apart = [store("a", CLEAN, stop=UUID(int=21)), store("b", CLEAN, next=11, stop=UUID(int=22))]
    assert not any(r.conflict for r in rank(apart, known))


def test_the_primary_of_a_generation_has_all_that_was_acknowledged_in_it() -> None:
    """Both were stopped at the same moment: the primary after its backup, or before it."""
    for mine, others in ((11, 10), (10, 11)):
        primary = store("b", CLEAN, next=mine, primary=True, stop=UUID(int=21))
        ranked = rank([store("a", CLEAN, next=others, stop=UUID(int=22)), primary])
        assert [r.name for r in ranked] == ["b", "a"]
        assert not any(r.conflict for r in ranked)


def test_messages_that_are_not_replicated_are_not_compared() -> None:
    """Each store has its own (LV1): UUIDs of levels configuration and none."""
    local = [
        Lines(UUID(int=(1 << 127) | (3 << 64) | 7), 99, 50),
        Lines(UUID(int=(3 << 64) | (3 << 62) | 1), 99, 50),
    ]
    one, other = store("a", CLEAN, stop=UUID(int=21)), store("b", CLEAN, stop=UUID(int=22))
    other.queues += local
    first, second = rank([one, other])
    assert (first.name, codes(second.findings)) == ("a", ["equal"])
    assert not first.conflict and not second.conflict


def test_findings_read_well() -> None:
    assert str(Finding(Severity.INFO, "best", "the best store")) == "info: the best store [best]"
    assert rank([]) == []
