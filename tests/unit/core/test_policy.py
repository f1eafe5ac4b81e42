"""The patterns of levels: put with an activation, and compared by each backup, which refuses what differs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.births import configuration_id
from qpidha.core.configuration import SPEC, is_object_key, object_key
from qpidha.core.keyed import ConfigurationQueue
from qpidha.core.policy import POLICY_KEY, check_policy, encoded, planned_policy, policy_in, put_policy
from qpidha.errors import HandshakeError
from qpidha.journal import Insert, PutQueue, Remove
from qpidha.types import QueueSpec
from qpidha.wire.events import PlanEnd, PlanMessages, PlanQueue
from tests.support.cores import CLUSTER, GENERATION, SETTINGS, Node, refused
from tests.support.plans import EMPTY, PLAN, backup

TEMP, OTHER = {"temp.*": "none"}, {"*": "configuration"}
OBJECTS = configuration_id(CLUSTER)


def objects() -> ConfigurationQueue:
    return ConfigurationQueue(OBJECTS, SPEC, ((1, 1),), 1)


def staged(policy: dict[str, str]) -> Batch:
    value = encoded(policy)
    assert value is not None
    return Batch.pack([b"1", value], props=[object_key("thing", "x"), POLICY_KEY])


def test_a_primary_puts_its_patterns_in_place_of_those_before() -> None:
    made = objects()
    assert put_policy(made, {}, 1) == [], "no patterns, no object"
    (put,) = put_policy(made, TEMP, 1)
    assert isinstance(put, Insert) and made.get(POLICY_KEY) == encoded(TEMP)
    assert put_policy(made, TEMP, 1) == []
    assert [type(c) for c in put_policy(made, OTHER, 1)] == [Insert, Remove]
    assert made.get(POLICY_KEY) == encoded(OTHER) and len(made) == 1
    assert [type(c) for c in put_policy(made, {}, 1)] == [Remove] and len(made) == 0
    made.check()


def test_the_order_of_patterns_counts() -> None:
    both = {**TEMP, **OTHER}
    assert encoded(both) != encoded({**OTHER, **TEMP})
    assert encoded({}) is None and not is_object_key(POLICY_KEY), "no client may put it"


def test_the_first_put_of_a_generation_enters_it() -> None:
    """P3: in the same transaction, and before the object."""
    made = objects()
    generation, first = made.lineage[-1][0] + 1, made.next
    changes = put_policy(made, TEMP, generation)
    assert changes[0] == PutQueue(made.queue, made.spec, made.lineage, first)
    assert [type(c) for c in changes] == [PutQueue, Insert] and made.lineage[-1] == (generation, first)
    assert [type(c) for c in put_policy(made, OTHER, generation)] == [Insert, Remove], "once"


def test_what_a_plan_leaves_is_known_before_the_flip() -> None:
    made = objects()
    assert planned_policy(None, SequenceSet(), []) is None
    assert planned_policy(made, SequenceSet(), [Batch.pack([b"1"], props=[b"other"])]) is None
    put_policy(made, TEMP, 1)
    assert planned_policy(made, SequenceSet(), []) == encoded(TEMP)
    assert planned_policy(made, SequenceSet([1]), []) is None
    assert planned_policy(made, SequenceSet([1]), [staged(OTHER)]) == encoded(OTHER)
    assert policy_in([]) is None and policy_in([staged(TEMP)]) == encoded(TEMP)


def test_a_refusal_names_both_nodes_and_both_policies() -> None:
    check_policy(encoded(TEMP), "a", TEMP, "b")
    check_policy(None, "a", {}, "b")
    with pytest.raises(HandshakeError) as caught:
        check_policy(encoded(TEMP), "a", OTHER, "b")
    assert str(caught.value).startswith(
        "replicate of backup 'b' is {'*': 'configuration'}, of primary 'a' {'temp.*': 'none'}: "
    )
    with pytest.raises(HandshakeError, match=r"backup 'b' is \{\}, of primary 'a' \{'temp"):
        check_policy(encoded(TEMP), "a", {}, "b")
    for strange in (b"\xc1", b"\x05", b"\x91\x05"):
        with pytest.raises(HandshakeError, match=r"primary 'a' b'"):
            check_policy(strange, "a", {}, "b")


def test_an_activation_puts_the_patterns_of_this_node() -> None:
    node = Node(replace(SETTINGS, replicate=TEMP)).promoted()
    made = node.replica.state.configuration
    assert made is not None and made.get(POLICY_KEY) == encoded(TEMP)
    assert node.replica.primary is not None and node.replica.primary.position == 1, "part of position 1"
    node.check()


def plan_of_objects(held: int) -> PlanQueue:
    return PlanQueue(queue=OBJECTS, spec=SPEC, lineage=((GENERATION, 1),), next=3, held=held)


def chunk(policy: dict[str, str]) -> PlanMessages:
    return PlanMessages(
        queue=OBJECTS, generation_of=GENERATION, ids=SequenceSet([1, 2]), batch=staged(policy)
    )


def test_a_backup_with_other_patterns_takes_nothing_of_the_plan() -> None:
    """It is refused with the first message that tells, before the rest of the content is sent."""
    node = backup(chunk(TEMP), node=Node(replace(SETTINGS, replicate=OTHER, queues_max=9)))
    assert refused(
        node, "replicate of backup 'me' is {'*': 'configuration'}, of primary 'peer' {'temp.*': 'none'}"
    )
    assert node.replica.state.configuration is None
    node.check()


def test_a_backup_with_patterns_refuses_a_primary_without() -> None:
    node = Node(replace(SETTINGS, replicate=OTHER, queues_max=9))
    backup(PLAN, EMPTY, plan_of_objects(0), PlanEnd(position=1, queues=3), node=node)
    assert refused(node, "of primary 'peer' {}")
    assert node.replica.state.configuration is None, "nothing was changed"
    node.check()


def test_a_backup_with_the_same_patterns_follows() -> None:
    node = Node(replace(SETTINGS, replicate=TEMP, queues_max=9))
    backup(chunk(TEMP), PLAN, EMPTY, plan_of_objects(2), PlanEnd(position=1, queues=3), node=node)
    assert not node.closed and node.replica.state.configuration is not None
    node.check()


def test_a_configuration_without_keys_has_no_patterns() -> None:
    plan = replace(plan_of_objects(0), spec=QueueSpec(name="c"), next=1)
    node = backup(
        PLAN, EMPTY, plan, PlanEnd(position=1, queues=3), node=Node(replace(SETTINGS, queues_max=9))
    )
    assert not node.closed
    node.check()
