"""A Kubernetes API as far as cells need it: Jobs and their pods over HTTP, manifests held against a strict schema.

No cluster can run here. This one runs each Job's command as a process of this machine, one thread a Job.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import jsonschema

__all__ = ["SCHEMA", "FakeKubernetes", "running_kubernetes"]

_NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
_LABELS = {"type": "object", "additionalProperties": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,63}$"}}
_AMOUNTS = {
    "type": "object",
    "required": ["cpu", "memory", "ephemeral-storage"],
    "additionalProperties": False,
    "properties": {
        "cpu": {"type": "string", "pattern": "^[0-9]+m?$"},
        "memory": {"type": "string", "pattern": "^[0-9]+Mi$"},
        "ephemeral-storage": {"type": "string", "pattern": "^[0-9]+Gi$"},
        "nvidia.com/gpu": {"type": "string", "pattern": "^[0-9]+$"},
    },
}


def _closed(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    """An object with exactly these properties; only the ``optional`` ones may lack."""
    needed = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


_CONTAINER = _closed(
    {
        "name": _NAME,
        "image": {"type": "string", "pattern": "@sha256:[0-9a-f]{64}$"},
        "command": {"type": "array", "items": {"type": "string"}, "minItems": 4},
        "env": {"type": "array", "items": _closed({"name": {"enum": ["HOME", "LANG"]}, "value": {"type": "string"}})},
        "resources": _closed({"requests": _AMOUNTS, "limits": _AMOUNTS}),
        "securityContext": _closed(
            {
                "allowPrivilegeEscalation": {"const": False},
                "readOnlyRootFilesystem": {"const": True},
                "capabilities": {"const": {"drop": ["ALL"]}},
            }
        ),
        "volumeMounts": {"type": "array", "items": _closed({"name": _NAME, "mountPath": {"type": "string"}})},
    }
)
_POD = _closed(
    {
        "restartPolicy": {"const": "Never"},
        "automountServiceAccountToken": {"const": False},
        "enableServiceLinks": {"const": False},
        "hostNetwork": {"const": False},
        "hostPID": {"const": False},
        "hostIPC": {"const": False},
        "terminationGracePeriodSeconds": {"type": "integer", "maximum": 30},
        "securityContext": _closed(
            {
                "runAsNonRoot": {"const": True},
                "runAsUser": {"type": "integer", "minimum": 1},
                "runAsGroup": {"type": "integer", "minimum": 1},
                "fsGroup": {"type": "integer", "minimum": 1},
                "fsGroupChangePolicy": {"const": "OnRootMismatch"},
                "seccompProfile": {"const": {"type": "RuntimeDefault"}},
            }
        ),
        "containers": {"type": "array", "items": _CONTAINER, "minItems": 1, "maxItems": 1},
        "volumes": {
            "type": "array",
            "items": {
                "oneOf": [
                    _closed({"name": _NAME, "persistentVolumeClaim": _closed({"claimName": _NAME})}),
                    _closed({"name": _NAME, "emptyDir": _closed({"sizeLimit": {"type": "string"}})}),
                ]
            },
        },
        "nodeSelector": _LABELS,
        "tolerations": {"type": "array"},
        "imagePullSecrets": {"type": "array", "items": _closed({"name": _NAME})},
        "priorityClassName": _NAME,
        "runtimeClassName": _NAME,
        "schedulerName": _NAME,
    },
    *("nodeSelector", "tolerations", "imagePullSecrets", "priorityClassName", "runtimeClassName", "schedulerName"),
)
SCHEMA = _closed(
    {
        "apiVersion": {"const": "batch/v1"},
        "kind": {"const": "Job"},
        "metadata": _closed({"name": _NAME, "namespace": _NAME, "labels": _LABELS}),
        "spec": _closed(
            {
                "backoffLimit": {"const": 0},
                "completions": {"const": 1},
                "parallelism": {"const": 1},
                "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
                "ttlSecondsAfterFinished": {"type": "integer", "minimum": 1},
                "template": _closed({"metadata": _closed({"labels": _LABELS}), "spec": _POD}),
            }
        ),
    }
)
"""What a cell's Job may say, and nothing else."""
_PATH = re.compile(r"/(apis/batch/v1|api/v1)/namespaces/([a-z0-9-]+)/(jobs|pods)(?:/([a-z0-9-]+))?")


@dataclass
class _Job:
    manifest: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    state: str = "Pending"
    code: int = 0
    why: tuple[str, str] = ("", "")


@dataclass
class FakeKubernetes:
    """Its Jobs; ``starts`` False: no pod gets a node. ``calls`` are methods and paths, in order."""

    url: str = ""
    starts: bool = True
    refuses: int = 0
    """So many of the next calls are answered with 503."""
    quota: int | None = None
    """So many Jobs are admitted."""
    jobs: dict[str, _Job] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    manifests: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, manifest: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            jsonschema.validate(manifest, SCHEMA)
        except jsonschema.ValidationError as error:
            return 422, {"kind": "Status", "message": f"{error.json_path}: {error.message}"}
        name = manifest["metadata"]["name"]
        with self.lock:
            if self.quota is not None and len(self.jobs) >= self.quota:
                return 403, {"kind": "Status", "message": "exceeded quota: jobs"}
            if name in self.jobs:
                return 409, {"kind": "Status", "message": "already exists"}
            job = self.jobs[name] = _Job(manifest)
            self.manifests.append(manifest)
        if self.starts:
            threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return 201, self._shown(job)

    def lose_node_of(self, name: str, reason: str = "PodFailurePolicy", message: str = "node lost") -> None:
        """The pod's node is gone, or what else the reason says: its process ends, the Job fails."""
        self.jobs[name].state, self.jobs[name].why = "Lost", (reason, message)
        process = self.jobs[name].process
        if process is not None:
            process.kill()

    def delete(self, name: str) -> int:
        with self.lock:
            job = self.jobs.pop(name, None)
        if job is None:
            return 404
        if job.process is not None and job.process.poll() is None:
            job.process.terminate()
        return 200

    def _run(self, job: _Job) -> None:
        command = job.manifest["spec"]["template"]["spec"]["containers"][0]["command"]
        assert command[0] == "/usr/bin/python3"
        job.process = subprocess.Popen(
            [sys.executable, *command[1:]], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        job.state = "Running"
        job.code = job.process.wait()
        if job.state != "Lost":
            job.state = "Failed" if job.code else "Complete"

    def listed(self, kind: str, selector: str) -> dict[str, Any]:
        label, _, value = selector.partition("=")
        with self.lock:
            jobs = [job for job in self.jobs.values() if job.manifest["metadata"]["labels"].get(label) == value]
        items = [self._shown(job) if kind == "jobs" else self._pod(job) for job in jobs]
        return {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}

    def _shown(self, job: _Job) -> dict[str, Any]:
        conditions = []
        if job.state in ("Complete", "Failed"):
            reason = "BackoffLimitExceeded" if job.state == "Failed" else None
            conditions = [{"type": job.state, "status": "True", "reason": reason}]
        if job.state == "Lost":
            conditions = [{"type": "Failed", "status": "True", "reason": job.why[0], "message": job.why[1]}]
        return {**job.manifest, "status": {"conditions": conditions}}

    def _pod(self, job: _Job) -> dict[str, Any]:
        labels = {**job.manifest["metadata"]["labels"], "job-name": job.manifest["metadata"]["name"]}
        waits = [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}]
        state = {"Complete": "Succeeded", "Lost": "Failed"}.get(job.state, job.state)
        ended = {"terminated": {"reason": "Error", "exitCode": job.code}} if job.state == "Failed" else None
        container = {"name": "cell", "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": ended}
        return {
            "metadata": {"name": f"{labels['job-name']}-x", "labels": labels},
            "spec": {"containers": [{"name": "cell"}], "nodeName": "node-1" if job.state != "Pending" else None},
            "status": {
                "phase": state,
                "conditions": waits if job.state == "Pending" else [],
                "containerStatuses": [container] if ended else [],
            },
        }


class _Handler(BaseHTTPRequestHandler):
    fake: ClassVar[FakeKubernetes]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def _handle(self) -> None:
        fake, url = self.fake, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fake.calls.append(f"{self.command} {url.path}")
        found = _PATH.fullmatch(url.path)
        selector = parse_qs(url.query).get("labelSelector", [""])[0]
        if fake.refuses:
            fake.refuses -= 1
            return self._answer(503, {"kind": "Status", "message": "the API server is restarting"})
        if found is None or found[2] != "lab":
            return self._answer(404, {"kind": "Status", "message": "no such thing"})
        if self.command == "POST" and found[3] == "jobs":
            return self._answer(*fake.create(json.loads(body)))
        if self.command == "GET":
            return self._answer(200, fake.listed(found[3], selector))
        if self.command == "DELETE" and found[4]:
            return self._answer(fake.delete(found[4]), {"kind": "Status"})
        if self.command == "DELETE":
            for job in fake.listed("jobs", selector)["items"]:
                fake.delete(job["metadata"]["name"])
            return self._answer(200, {"kind": "Status"})
        return self._answer(405, {"kind": "Status"})

    do_GET = do_POST = do_DELETE = _handle

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def running_kubernetes() -> Iterator[FakeKubernetes]:
    """The API for the time of the block."""
    fake = FakeKubernetes()
    handler = type("Handler", (_Handler,), {"fake": fake})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        for name in list(fake.jobs):
            fake.delete(name)
        server.shutdown()
        server.server_close()
        thread.join()
