"""What a result says of itself: the ``results`` bytes on chain (`task-runtime` §5), the error document (decision 6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rfc8785

from fairgrid.errors import UsageError
from fairgrid.protocol.bounded_json import load_json
from fairgrid.protocol.cid import normal_cid

__all__ = [
    "BLIND_FILE",
    "ERROR_FILE",
    "MAX_CALLBACK_BYTES",
    "callback_results_text",
    "cid_of_results",
    "describe_error",
    "error_in_folder",
    "error_to_bytes",
    "exit_error",
    "limit_error",
    "parse_error",
    "results_text",
    "rule_error",
]

BLIND_FILE = ".fairgrid-blind"
"""A file in every result of a private task: 32 bytes that follow from the task's key, in hex. The digest on chain is
public; without them a short answer could be guessed from it."""
ERROR_FILE = "error.json"
MAX_CALLBACK_BYTES = 2048

_LOCATION = "/ipfs/"
_VERSION = "error/1"
_LIMIT_KINDS = {
    "fuel": "The job used up its fuel ({limit} units). Does it loop for ever? Else give it more with --fuel.",
    "memory": "The job needed more memory than its limit of {limit} bytes. Give it more with --memory.",
    "outputBytes": "The job wrote more than its limit of {limit} bytes. Allow more with --output-limit.",
    "outputFiles": "The job made more than {limit} files and folders. Write fewer, for example one archive.",
}
_MEND = "Mend the script and run it again."
_RULE_KINDS = ("callback", "canonical", "computed", "dependency", "files", "logName")


def results_text(cid: str) -> bytes:
    """The text for a result archive in content-addressed storage, spaces included."""
    return b'{ "storage": "ipfs", "location": "' + (_LOCATION + cid).encode() + b'" }'


def callback_results_text(callback: str) -> bytes:
    """The text for a result that goes to the contract ``callback`` (an address)."""
    return b'{ "storage": "ethereum", "location": "' + callback.encode() + b'" }'


def cid_of_results(results: bytes) -> str | None:
    """The CID that ``results`` names, normalised; None if it names none (another storage, or not this format)."""
    try:
        document = load_json(results)
    except ValueError:
        return None
    if not isinstance(document, dict) or document.get("storage") != "ipfs":
        return None
    location = document.get("location")
    if not isinstance(location, str) or not location.startswith(_LOCATION):
        return None
    try:
        return normal_cid(location.removeprefix(_LOCATION))
    except UsageError:
        return None


def exit_error(exit_code: int, stdout: bytes | None, stderr: bytes | None) -> dict[str, Any]:
    """The document of a job that ended with ``exit_code``; bytes that are not UTF-8 become ``\\xNN``.

    Logs are None in a task with a callback, whose document must fit the chain.
    """
    document: dict[str, Any] = {"fairgrid": _VERSION, "kind": "exit", "exitCode": exit_code}
    if stdout is not None and stderr is not None:
        document["stdout"] = stdout.decode(errors="backslashreplace")
        document["stderr"] = stderr.decode(errors="backslashreplace")
    return document


def limit_error(kind: str, limit: int) -> dict[str, Any]:
    """The document of a job that met a limit: ``fuel``, ``memory``, ``outputBytes`` or ``outputFiles``."""
    return {"fairgrid": _VERSION, "kind": kind, "limit": limit}


def rule_error(kind: str, message: str) -> dict[str, Any]:
    """The document of a job that breaks a rule.

    By its output: ``computed``, ``callback``, ``logName``, ``files`` or ``canonical``; by its input: ``dependency``.
    """
    return {"fairgrid": _VERSION, "kind": kind, "message": message}


def error_to_bytes(document: dict[str, Any]) -> bytes:
    """The canonical bytes (RFC 8785) of an error document."""
    return rfc8785.dumps(document)


def parse_error(data: bytes) -> dict[str, Any] | None:
    """The error document in ``data``, or None if that is something else or not canonical."""
    try:
        document = load_json(data)
        if not isinstance(document, dict) or rfc8785.dumps(document) != data:
            return None
    except ValueError:
        return None
    keys = set(document) - {"fairgrid", "kind"}
    kind = document.get("kind")
    if document.get("fairgrid") != _VERSION or not isinstance(kind, str):
        return None
    fits = (
        (kind == "exit" and type(document.get("exitCode")) is int and keys in _EXIT_KEYS)
        or (kind in _LIMIT_KINDS and type(document.get("limit")) is int and keys == {"limit"})
        or (kind in _RULE_KINDS and keys == {"message"})
    )
    texts = all(isinstance(document.get(key, ""), str) for key in ("stdout", "stderr", "message"))
    return document if fits and texts else None


def error_in_folder(folder: Path) -> dict[str, Any] | None:
    """The error document of a result folder, or None if the job succeeded: an error has ``error.json`` and no other
    file, but for the `BLIND_FILE` of a private task."""
    if [item.name for item in folder.iterdir() if item.name != BLIND_FILE] != [ERROR_FILE]:
        return None
    return parse_error((folder / ERROR_FILE).read_bytes())


def describe_error(document: dict[str, Any]) -> str:
    """What happened and what to do, once each, for the user."""
    kind = document["kind"]
    if kind == "exit":
        return f"The job ended with exit code {document['exitCode']}. {_MEND}"
    if kind in _LIMIT_KINDS:
        return _LIMIT_KINDS[kind].format(limit=document["limit"])
    return f"{document['message']} {_MEND}"


_EXIT_KEYS = ({"exitCode"}, {"exitCode", "stdout", "stderr"})
