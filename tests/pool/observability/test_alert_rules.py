"""Each alert of `deploy/` goes off when it should and is silent when it should be, as Prometheus computes it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.needs import need

DEPLOY = Path(__file__).parents[3] / "deploy" / "prometheus"
ALERTS = DEPLOY / "alerts.yml"
SCRAPED = 'instance="here:8100",job="fairgrid"'
MINUTES = 120
"""How long each case lasts; it is looked at in the end."""


@dataclass(frozen=True, slots=True)
class Case:
    """Series of a scraped process by what is in their braces, with Prometheus's notation for values a minute apart."""

    alert: str
    bad: dict[str, str]
    good: dict[str, str]


def steady(value: float) -> str:
    return f"{value}+0x{MINUTES}"


def growing(by: float) -> str:
    return f"0+{by}x{MINUTES}"


CASES = (
    Case("FairgridPoolHasNoLeader", {"fairgrid_pool_leads": steady(0)}, {"fairgrid_pool_leads": steady(1)}),
    Case(
        "FairgridChainSilent",
        {"fairgrid_pool_chain_silence_seconds": steady(61)},
        {"fairgrid_pool_chain_silence_seconds": steady(59)},
    ),
    Case(
        "FairgridChainLags",
        {"fairgrid_pool_chain_lag_seconds": steady(301)},
        {"fairgrid_pool_chain_lag_seconds": steady(30)},
    ),
    Case("FairgridGasMoneyLow", {"fairgrid_pool_balance_low": steady(1)}, {"fairgrid_pool_balance_low": steady(0)}),
    Case(
        "FairgridTransactionsStuck",
        {
            "fairgrid_pool_transactions_under_way": steady(3),
            "fairgrid_pool_transactions_total{fate='mined'}": steady(9),
        },
        {
            "fairgrid_pool_transactions_under_way": steady(3),
            "fairgrid_pool_transactions_total{fate='mined'}": growing(1),
        },
    ),
    Case(
        "FairgridTransactionsReverted",
        {"fairgrid_pool_transactions_total{fate='reverted'}": growing(1)},
        {
            "fairgrid_pool_transactions_total{fate='mined'}": growing(9),
            "fairgrid_pool_transactions_total{fate='reverted'}": steady(5),
        },
    ),
    Case(
        "FairgridQueueOld",
        {"fairgrid_pool_queue_age_seconds": steady(700), "fairgrid_pool_workers{state='idle'}": steady(2)},
        {"fairgrid_pool_queue_age_seconds": steady(700), "fairgrid_pool_workers{state='idle'}": steady(0)},
    ),
    Case(
        "FairgridLeasesLost",
        {
            "fairgrid_pool_leases_total{why='first'}": growing(10),
            "fairgrid_pool_lease_ends_total{why='lost'}": growing(4),
        },
        {
            "fairgrid_pool_leases_total{why='first'}": growing(10),
            "fairgrid_pool_lease_ends_total{why='lost'}": growing(1),
            "fairgrid_pool_lease_ends_total{why='sealed'}": growing(9),
        },
    ),
    Case(
        "FairgridLyingWorkers",
        {"fairgrid_pool_audits_total{outcome='wrong'}": growing(0.1)},
        {"fairgrid_pool_audits_total{outcome='agreed'}": growing(3)},
    ),
    Case(
        "FairgridDatabaseSlow",
        {
            "fairgrid_pool_commit_seconds_bucket{le='1.0'}": growing(90),
            "fairgrid_pool_commit_seconds_bucket{le='2.0'}": growing(100),
            "fairgrid_pool_commit_seconds_bucket{le='+Inf'}": growing(100),
        },
        {
            "fairgrid_pool_commit_seconds_bucket{le='1.0'}": growing(100),
            "fairgrid_pool_commit_seconds_bucket{le='2.0'}": growing(100),
            "fairgrid_pool_commit_seconds_bucket{le='+Inf'}": growing(100),
        },
    ),
    Case(
        "FairgridDeepReorganisations",
        {"fairgrid_pool_reorganisations_total": growing(1)},
        {"fairgrid_pool_reorganisations_total": growing(0.05)},
    ),
    Case(
        "FairgridServiceErrors",
        {"fairgrid_http_requests_total{handler='/tasks',method='GET',status='500'}": growing(30)},
        {"fairgrid_http_requests_total{handler='/tasks',method='GET',status='404'}": growing(300)},
    ),
    Case("FairgridWorkerAway", {"fairgrid_worker_enrolled": steady(0)}, {"fairgrid_worker_enrolled": steady(1)}),
    Case(
        "FairgridWorkerHot",
        {"fairgrid_worker_rule_broken{rule='max_temperature_c'}": steady(1)},
        {"fairgrid_worker_rule_broken{rule='hours'}": steady(1)},
    ),
)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    need(found, "promtool is not installed: `make system-deps` installs Debian's prometheus, which brings it.")
    return subprocess.run([str(found), *arguments], capture_output=True, text=True, check=False, timeout=50)


def scraped(series: str) -> str:
    """The series as Prometheus stores it: with labels of where it came from."""
    name, _, labels = series.replace("'", '"').partition("{")
    given = [labels.removesuffix("}")] if labels else []
    return f"{name}{{{','.join([*given, SCRAPED])}}}"


def evaluated(folder: Path, alert: str, series: dict[str, str], *, fires: bool) -> str:
    """What Prometheus's own test tool says of it; empty if the alert does as expected."""
    inputs = [{"series": scraped(text), "values": values} for text, values in series.items()]
    asked = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    test: dict[str, Any] = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": inputs,
                "promql_expr_test": [
                    {
                        "expr": asked,
                        "eval_time": f"{MINUTES - 1}m",
                        "exp_samples": [{"labels": "{}", "value": int(fires)}],
                    }
                ],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(json.dumps(test))
    done = promtool("test", "rules", str(file))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_rules_and_the_configuration_are_prometheuss() -> None:
    done = promtool("check", "config", str(DEPLOY / "prometheus.yml"))
    assert done.returncode == 0 and "rules found" in done.stdout, done.stdout + done.stderr


def test_a_rule_that_is_none_is_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "alerts.yml"
    broken.write_text(ALERTS.read_text().replace("max(fairgrid_pool_leads) < 1", "max(fairgrid_pool_leads <"))
    assert promtool("check", "rules", str(broken)).returncode != 0


def test_every_alert_has_a_case() -> None:
    document = yaml.safe_load(ALERTS.read_text())
    assert sorted(case.alert for case in CASES) == sorted(
        rule["alert"] for group in document["groups"] for rule in group["rules"]
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_goes_off_when_it_should(tmp_path: Path, case: Case) -> None:
    assert evaluated(tmp_path, case.alert, case.bad, fires=True) == ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_is_silent_while_all_is_well(tmp_path: Path, case: Case) -> None:
    assert evaluated(tmp_path, case.alert, case.good, fires=False) == ""


def test_a_pool_that_cannot_be_reached_has_no_leader(tmp_path: Path) -> None:
    assert evaluated(tmp_path, "FairgridPoolHasNoLeader", {"fairgrid_worker_enrolled": steady(1)}, fires=True) == ""


def test_transactions_that_were_never_mined_at_all_are_stuck(tmp_path: Path) -> None:
    under_way = {"fairgrid_pool_transactions_under_way": steady(1)}
    assert evaluated(tmp_path, "FairgridTransactionsStuck", under_way, fires=True) == ""


def test_every_question_of_the_grafana_dashboard_is_one_that_prometheus_reads(tmp_path: Path) -> None:
    document = json.loads((DEPLOY.parent / "grafana" / "fairgrid.json").read_text())
    asked = [target["expr"] for panel in document["panels"] for target in panel.get("targets", ())]
    rules = [
        {"record": f"panel:question:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(asked)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0 and f"{len(asked)} rules found" in done.stdout, done.stdout + done.stderr
