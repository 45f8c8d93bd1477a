"""docs/observability.md and deploy/ name the metrics that there are, and all of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from prometheus_client import CollectorRegistry

from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.sponsoring import DebtSums
from fairgrid.pool.observability.meter import PoolMeter
from fairgrid.pool.observability.numbers import PoolNumbers, numbers_of
from fairgrid.pool.onchain.gas_money import GasMoney
from fairgrid.seams.metrics import Metered, new_registry
from fairgrid.worker.observability.meter import WorkerMeter
from fairgrid.worker.owner.availability import Availability, Rule
from tests.docs.references import REPOSITORY

PAGE = (REPOSITORY / "docs" / "observability.md").read_text()
DEPLOY = REPOSITORY / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "fairgrid.json"
NAME = re.compile(r"\b(?:fairgrid|process)_[a-z_]+[a-z]\b")


class IdlePool:
    """What a pool without work says of itself."""

    tally: ClassVar[Counter[str]] = Counter()
    transactions_tally: ClassVar[Counter[str]] = Counter()
    refusals: ClassVar[Counter[str]] = Counter(schema=1)
    rpc_calls: ClassVar[Counter[str]] = Counter(eth_call=1)
    debts = DebtSums()
    gas_money = GasMoney(low_below=1, balance_wei=1)
    transactions_under_way = 0
    chain_time = 1
    chain_silence_s = 0.0
    reorganisations = 0
    queued_events = 0
    connected = 0

    def now(self) -> float:
        return 1.0

    def numbers(self) -> PoolNumbers:
        return numbers_of(PoolMachine(PoolIdentity(1, "0x", "0x"), Policy()), now=1.0)


class IdleWorker:
    """What a worker without work says of itself."""

    tally: ClassVar[Counter[str]] = Counter({"paused/paused": 1})
    held_phases = ()
    is_enrolled = True
    free_slots = 1
    verdict = Availability((Rule("paused", False, "…"),))
    is_suspended = True


def exported() -> dict[str, tuple[str, ...]]:
    """Every metric that services and worker export, as Prometheus stores it, with its labels."""
    registry = new_registry("pool")
    Metered(None, registry)
    pool, worker = PoolMeter(registry), WorkerMeter(CollectorRegistry())
    found: dict[str, set[str]] = {}
    with pool.measuring(IdlePool()), worker.measuring(IdleWorker()):
        for family in (*registry.collect(), *worker.registry.collect()):
            name = f"{family.name}_{'total' if family.type == 'counter' else 'info'}"
            name = name if family.type in ("counter", "info") else family.name
            labels = found.setdefault(name, set(_labels_of(registry, family.name)))
            labels.update(label for sample in family.samples for label in sample.labels if label != "le")
    return {name: tuple(sorted(labels)) for name, labels in found.items()}


def _labels_of(registry: CollectorRegistry, name: str) -> tuple[str, ...]:
    collector: Any = registry._names_to_collectors.get(name)
    return tuple(getattr(collector, "_labelnames", ()))


EXPORTED = exported()


def stored(name: str) -> str:
    """The metric that a series belongs to: a histogram has three."""
    return re.sub(r"_(bucket|sum|count)$", "", name) if name not in EXPORTED else name


def test_page_explains_every_metric_with_its_labels_and_names_no_other() -> None:
    rows = re.findall(r"^\| (`(?:fairgrid|process)_[^|]+) \|([^|]*)\|", PAGE, re.MULTILINE)
    documented = {
        name: tuple(sorted(re.findall(r"`(\w+)`", labels)))
        for names, labels in rows
        for name in re.findall(r"`(fairgrid_\w+)`", names)
    }
    assert documented == {name: labels for name, labels in EXPORTED.items() if not name.startswith("process_")}


@pytest.mark.parametrize("path", [ALERTS, DASHBOARD], ids=lambda path: path.name)
def test_every_metric_that_deploy_names_exists(path: Path) -> None:
    used = {stored(name) for name in NAME.findall(path.read_text())}
    assert len(used) >= 10
    assert used - set(EXPORTED) == set()


def test_every_alert_says_what_to_do_and_uses_labels_that_exist() -> None:
    document = yaml.safe_load(ALERTS.read_text())
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    for rule in rules:
        assert rule["annotations"]["summary"] and rule["annotations"]["remedy"], rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["expr"].count("(") == rule["expr"].count(")")
        for name, label in re.findall(r"(\w+)\{(\w+)=", rule["expr"]):
            assert label in EXPORTED[stored(name)], (rule["alert"], name, label)


def test_values_of_labels_that_alerts_ask_for_exist() -> None:
    known = set(re.findall(r"`(\w+)`", PAGE))
    for value in re.findall(r'\{(?:fate|why|outcome|state|rule)=~?"([^"]+)"', ALERTS.read_text()):
        assert set(value.split("|")) <= known


def test_dashboard_is_one_that_can_be_imported() -> None:
    document = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in document["panels"] if panel["type"] != "row"]
    assert len(panels) >= 20
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    for panel in panels:
        assert panel["targets"] and all(target["expr"] for target in panel["targets"]), panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_example_of_prometheus_reads_rules_that_are_there() -> None:
    document = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert all((DEPLOY / "prometheus" / name).exists() for name in document["rule_files"])
    assert {job["job_name"] for job in document["scrape_configs"]} == {
        f"fairgrid-{service}" for service in ("pool", "market", "storage", "worker")
    }
