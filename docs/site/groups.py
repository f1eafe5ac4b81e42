"""The pages of the site, in four groups, each in the order in which one reads it.

A page is named by its path in the repository; tests/docs/test_site.py refuses a page that is in no group. The pages that
are generated are named by their place in the site: `reference/...`.
"""

from __future__ import annotations

ROOT_PAGE = "docs/index.md"

GROUPS: dict[str, list[str]] = {
    "Tutorials": [
        "docs/getting-started.md",
        "docs/three-machines.md",
        "docs/testing.md",
        "examples/simple/README.md",
    ],
    "How-to": [
        "docs/embedding.md",
        "docs/configuration.md",
        "docs/queue-types.md",
        "docs/levels.md",
        "docs/threads.md",
        "docs/without-asyncio.md",
        "examples/selectors/README.md",
        "docs/parts.md",
        "docs/adapters.md",
        "docs/conformance.md",
        "examples/links/README.md",
        "docs/amqp.md",
        "examples/amqp/README.md",
        "docs/mqtt.md",
        "examples/amqtt/README.md",
        "examples/huey/README.md",
        "docs/records.md",
        "docs/pacemaker.md",
        "docs/service.md",
        "docs/networks.md",
        "docs/monitoring.md",
        "docs/logs.md",
        "docs/why.md",
        "docs/when-things-go-wrong.md",
        "docs/saving.md",
        "CONTRIBUTING.md",
        "docs/exploration.md",
        "docs/fuzzing.md",
        "docs/releasing.md",
    ],
    "Reference": [
        "reference/index",
        "docs/glossary.md",
        "docs/command-line.md",
        "reference/options",
        "docs/names.md",
        "docs/cluster-file.md",
        "docs/events.md",
        "docs/stores.md",
        "docs/wire.md",
        "docs/rules.md",
        "docs/invariants.md",
        "CHANGELOG.md",
        "SECURITY.md",
    ],
    "Explanation": [
        "docs/architecture.md",
        "docs/protocol.md",
        "docs/state-protocol.md",
        "docs/scenarios.md",
        "docs/divergences.md",
        "docs/performance.md",
        "docs/decisions/README.md",
        "tests/model/README.md",
    ],
}

WITHIN: dict[str, list[str]] = {
    "docs/decisions/README.md": [
        "docs/decisions/0001-the-record-is-the-election.md",
        "docs/decisions/0002-every-member-acknowledges.md",
        "docs/decisions/0003-identity-has-a-generation.md",
        "docs/decisions/0004-one-session-one-atomic-flip.md",
        "docs/decisions/0005-rewound-messages-are-kept.md",
        "docs/decisions/0006-sans-io-core-ordered-effects.md",
        "docs/decisions/0007-one-transactional-store.md",
        "docs/decisions/0008-batches-and-little-compiled-code.md",
        "docs/decisions/0009-the-model-comes-first.md",
        "docs/decisions/0010-slow-backups-are-not-buffered-for.md",
        "docs/decisions/0011-sources-and-what-is-compiled-of-them.md",
    ],
}
"""Pages below a page."""


def pages() -> list[str]:
    """The pages that are files of the repository."""
    named = [ROOT_PAGE, *(page for group in GROUPS.values() for page in group)]
    return [page for page in named if page.endswith(".md")] + [p for below in WITHIN.values() for p in below]
