"""Mutants of the rest of the published interface, in contracts and model. See `tests.contracts.mutants`."""

from __future__ import annotations

from tests.contracts.mutant_runner import Mutant

__all__ = ["PUBLISHED"]

KILLERS = "tests/contracts/test_agreement_on_published.py::test_"
MODEL_KILLERS = "tests/protocol/test_model_published.py::test_"
ADMIN, LEGACY, ORDERS = "contracts/hub_admin.vy", "contracts/hub_legacy.vy", "contracts/hub_orders.vy"
SCORES, MODEL = "contracts/lib/scores.vy", "src/fairgrid/protocol/model_published.py"

FIXED = "what_is_fixed_stays_fixed"
IMPORTED = "an_imported_score_weighs_grows_and_falls_like_ones_own"
HIGHER = "a_score_above_the_old_one_stays_and_cannot_be_tried_again"
REASONS = "a_dataset_is_refused_for_every_reason_in_its_order"
UNITS = "a_dataset_order_is_good_until_its_last_unit_and_without_signature_once_presigned"
FLAT = "flat_views_tell_what_the_others_do"
MODEL_REASONS = "every_reason_is_given_in_its_order"


def in_facet(name: str, file: str, text: str, replacement: str, killer: str) -> Mutant:
    """A mistake in a facet of its own."""
    facet = file[10:-3]
    return Mutant(f"{facet}: {name}", file, text, replacement, KILLERS + killer, (facet,))


def in_model(name: str, text: str, replacement: str, killer: str) -> Mutant:
    """A mistake in the reference model."""
    return Mutant(f"model_published: {name}", MODEL, text, replacement, MODEL_KILLERS + killer)


PUBLISHED = (
    # configuration and scores
    in_facet(
        "anybody may set the registries that are set",
        ADMIN,
        "    ownable.check_owner()\n    assert _appregistryAddress",
        "    assert _appregistryAddress",
        FIXED,
    ),
    in_facet(
        "another registry of workerpools is accepted",
        ADMIN,
        '    assert _workerpoolregistryAddress == WORKERPOOL_REGISTRY, "registries-are-immutable"\n',
        "",
        FIXED,
    ),
    in_facet(
        "a score is imported again and again",
        ADMIN,
        "    state.imported_scores[_worker] = True\n",
        "",
        IMPORTED,
    ),
    Mutant(
        "scores: an old score replaces a higher one",
        SCORES,
        "if score > self.score_of(worker):",
        "if score != self.score_of(worker):",
        KILLERS + HIGHER,
        ("hub_admin",),
    ),
    # datasets of bulk deals
    in_facet(
        "a dataset order without a unit left is good",
        ORDERS,
        "if state.consumed[order_hash] >= datasetOrder.volume:",
        "if state.consumed[order_hash] > datasetOrder.volume:",
        UNITS,
    ),
    in_facet(
        "a dataset is added to a deal that has one",
        ORDERS,
        'if deals.flags(deal) & deals.FLAG_DATASET != 0:\n        self._refuse_dataset("Deal already',
        'if False:\n        self._refuse_dataset("Deal already',
        REASONS,
    ),
    in_facet(
        "the app's restriction looks at the pool",
        ORDERS,
        "signatures.is_authorised(datasetOrder.apprestrict, deals.app(deal))",
        "signatures.is_authorised(datasetOrder.apprestrict, deals.pool(deal))",
        REASONS,
    ),
    in_facet(
        "frameworks of a bulk dataset must be the deal's",
        ORDERS,
        "convert(datasetOrder.tag, uint256) & ~types.TAG_FRAMEWORKS",
        "convert(datasetOrder.tag, uint256)",
        REASONS,
    ),
    # legacy views
    in_facet(
        "reveals and winners change places",
        LEGACY,
        "        task.revealCounter,\n        task.winnerCounter,\n",
        "        task.winnerCounter,\n        task.revealCounter,\n",
        FLAT,
    ),
    in_facet(
        "beneficiary and callback change places",
        LEGACY,
        "deal.requester, deal.beneficiary, deal.callback",
        "deal.requester, deal.callback, deal.beneficiary",
        FLAT,
    ),
    # the model
    in_model(
        "registries are not compared",
        "require((apps, datasets, workerpools) == current, _IMMUTABLE)",
        "require(len(current) == 3, _IMMUTABLE)",
        "registries_are_changed_to_what_they_are_and_to_nothing_else",
    ),
    in_model(
        "frameworks of a bulk dataset must be the deal's",
        "covers(deal.tag, union_tag(ZERO32, order.tag, ZERO32))",
        "covers(deal.tag, union_tag(order.tag, ZERO32, ZERO32))",
        "a_dataset_that_fits_is_neither_consumed_nor_paid",
    ),
    in_model(
        "the requester's restriction is not asked",
        "if not authorised(order.requesterrestrict, deal.requester, self._facts):",
        "if False:",
        MODEL_REASONS,
    ),
    in_model(
        "a closed dataset order is good",
        "if self.view_consumed(hash_) >= order.volume:",
        "if self.view_consumed(hash_) > order.volume:",
        "a_dataset_order_is_good_until_its_last_unit",
    ),
)
