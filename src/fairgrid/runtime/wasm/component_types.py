"""What a component's imports must be, function by function: the types of WASI preview 2 (0.2.x), held against its own.

The engine links a host's function to an import of any type; a component that says something else of one would fail in
the middle of its run, on each machine in its own way. So it is refused before, with the name of the import, in words
that are the same everywhere, because a worker contributes them as the job's agreed error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wasmtime import Engine
from wasmtime.component import (
    BorrowType,
    Component,
    ComponentInstanceType,
    ComponentType,
    EnumType,
    FlagsType,
    FuncType,
    ListType,
    ModuleType,
    OptionType,
    OwnType,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    VariantType,
)

from fairgrid.runtime.wasm.component_format import RUN, split_version
from fairgrid.runtime.wasm.component_resources import RESOURCE_TYPES

__all__ = ["SIGNATURES", "signature_fault"]

_MOST_SHOWN: Final = 300

_STREAM_ERROR: Final = "variant{last-operation-failed(own<error>),closed}"
_FILE_ERROR: Final = (
    "enum{access,would-block,already,bad-descriptor,busy,deadlock,quota,exist,file-too-large,illegal-byte-sequence,"
    "in-progress,interrupted,invalid,io,is-directory,loop,too-many-links,message-size,name-too-long,no-device,"
    "no-entry,no-lock,insufficient-memory,insufficient-space,not-directory,not-empty,not-recoverable,unsupported,"
    "no-tty,no-such-device,overflow,not-permitted,pipe,read-only,invalid-seek,text-file-busy,cross-device}"
)
_SOCKET_ERROR: Final = (
    "enum{unknown,access-denied,not-supported,invalid-argument,out-of-memory,timeout,concurrency-conflict,"
    "not-in-progress,would-block,invalid-state,new-socket-limit,address-not-bindable,address-in-use,"
    "remote-unreachable,connection-refused,connection-reset,connection-aborted,datagram-too-large,name-unresolvable,"
    "temporary-resolver-failure,permanent-resolver-failure}"
)
_MOMENT: Final = "record{seconds:u64,nanoseconds:u32}"
_NEW_TIME: Final = f"variant{{no-change,now,timestamp({_MOMENT})}}"
_FILE_TYPE: Final = "enum{unknown,block-device,character-device,directory,fifo,symbolic-link,regular-file,socket}"
_STAT: Final = (
    f"record{{type:{_FILE_TYPE},link-count:u64,size:u64,data-access-timestamp:option<{_MOMENT}>,"
    f"data-modification-timestamp:option<{_MOMENT}>,status-change-timestamp:option<{_MOMENT}>}}"
)
_FLAGS: Final = "flags{read,write,file-integrity-sync,data-integrity-sync,requested-write-sync,mutate-directory}"
_FOLLOW: Final = "flags{symlink-follow}"
_OPEN: Final = "flags{create,directory,exclusive,truncate}"
_ADVICE: Final = "enum{normal,sequential,random,will-need,dont-need,no-reuse}"
_HASH: Final = "record{lower:u64,upper:u64}"
_ENTRY: Final = f"option<record{{type:{_FILE_TYPE},name:string}}>"
_FAMILY: Final = "enum{ipv4,ipv6}"


def _of_files(arguments: str, result: str = "_") -> str:
    more = f",{arguments}" if arguments else ""
    return f"(borrow<descriptor>{more})->result<{result},{_FILE_ERROR}>"


def _of_reading(result: str) -> str:
    return f"(borrow<input-stream>,u64)->result<{result},{_STREAM_ERROR}>"


def _of_writing(arguments: str, result: str = "_") -> str:
    more = f",{arguments}" if arguments else ""
    return f"(borrow<output-stream>{more})->result<{result},{_STREAM_ERROR}>"


_READING, _WRITING, _FILE = "[method]input-stream.", "[method]output-stream.", "[method]descriptor."

SIGNATURES: Final[Mapping[str, Mapping[str, str]]] = {
    "wasi:io/error": {"[method]error.to-debug-string": "(borrow<error>)->string"},
    "wasi:io/poll": {
        "poll": "(list<borrow<pollable>>)->list<u32>",
        "[method]pollable.ready": "(borrow<pollable>)->bool",
        "[method]pollable.block": "(borrow<pollable>)",
    },
    "wasi:io/streams": {
        _READING + "read": _of_reading("list<u8>"),
        _READING + "blocking-read": _of_reading("list<u8>"),
        _READING + "skip": _of_reading("u64"),
        _READING + "blocking-skip": _of_reading("u64"),
        _READING + "subscribe": "(borrow<input-stream>)->own<pollable>",
        _WRITING + "check-write": _of_writing("", "u64"),
        _WRITING + "write": _of_writing("list<u8>"),
        _WRITING + "blocking-write-and-flush": _of_writing("list<u8>"),
        _WRITING + "flush": _of_writing(""),
        _WRITING + "blocking-flush": _of_writing(""),
        _WRITING + "subscribe": "(borrow<output-stream>)->own<pollable>",
        _WRITING + "write-zeroes": _of_writing("u64"),
        _WRITING + "blocking-write-zeroes-and-flush": _of_writing("u64"),
        _WRITING + "splice": _of_writing("borrow<input-stream>,u64", "u64"),
        _WRITING + "blocking-splice": _of_writing("borrow<input-stream>,u64", "u64"),
    },
    "wasi:clocks/wall-clock": {"now": f"()->{_MOMENT}", "resolution": f"()->{_MOMENT}"},
    "wasi:clocks/monotonic-clock": {
        "now": "()->u64",
        "resolution": "()->u64",
        "subscribe-instant": "(u64)->own<pollable>",
        "subscribe-duration": "(u64)->own<pollable>",
    },
    "wasi:random/random": {"get-random-bytes": "(u64)->list<u8>", "get-random-u64": "()->u64"},
    "wasi:random/insecure": {"get-insecure-random-bytes": "(u64)->list<u8>", "get-insecure-random-u64": "()->u64"},
    "wasi:random/insecure-seed": {"insecure-seed": "()->tuple<u64,u64>"},
    "wasi:cli/environment": {
        "get-environment": "()->list<tuple<string,string>>",
        "get-arguments": "()->list<string>",
        "initial-cwd": "()->option<string>",
    },
    "wasi:cli/exit": {"exit": "(result<_,_>)", "exit-with-code": "(u8)"},
    "wasi:cli/stdin": {"get-stdin": "()->own<input-stream>"},
    "wasi:cli/stdout": {"get-stdout": "()->own<output-stream>"},
    "wasi:cli/stderr": {"get-stderr": "()->own<output-stream>"},
    "wasi:cli/terminal-stdin": {"get-terminal-stdin": "()->option<own<terminal-input>>"},
    "wasi:cli/terminal-stdout": {"get-terminal-stdout": "()->option<own<terminal-output>>"},
    "wasi:cli/terminal-stderr": {"get-terminal-stderr": "()->option<own<terminal-output>>"},
    "wasi:filesystem/preopens": {"get-directories": "()->list<tuple<own<descriptor>,string>>"},
    "wasi:filesystem/types": {
        _FILE + "read-via-stream": _of_files("u64", "own<input-stream>"),
        _FILE + "write-via-stream": _of_files("u64", "own<output-stream>"),
        _FILE + "append-via-stream": _of_files("", "own<output-stream>"),
        _FILE + "advise": _of_files(f"u64,u64,{_ADVICE}"),
        _FILE + "sync": _of_files(""),
        _FILE + "sync-data": _of_files(""),
        _FILE + "get-flags": _of_files("", _FLAGS),
        _FILE + "get-type": _of_files("", _FILE_TYPE),
        _FILE + "set-size": _of_files("u64"),
        _FILE + "set-times": _of_files(f"{_NEW_TIME},{_NEW_TIME}"),
        _FILE + "read": _of_files("u64,u64", "tuple<list<u8>,bool>"),
        _FILE + "write": _of_files("list<u8>,u64", "u64"),
        _FILE + "read-directory": _of_files("", "own<directory-entry-stream>"),
        _FILE + "create-directory-at": _of_files("string"),
        _FILE + "stat": _of_files("", _STAT),
        _FILE + "stat-at": _of_files(f"{_FOLLOW},string", _STAT),
        _FILE + "set-times-at": _of_files(f"{_FOLLOW},string,{_NEW_TIME},{_NEW_TIME}"),
        _FILE + "link-at": _of_files(f"{_FOLLOW},string,borrow<descriptor>,string"),
        _FILE + "open-at": _of_files(f"{_FOLLOW},string,{_OPEN},{_FLAGS}", "own<descriptor>"),
        _FILE + "readlink-at": _of_files("string", "string"),
        _FILE + "remove-directory-at": _of_files("string"),
        _FILE + "rename-at": _of_files("string,borrow<descriptor>,string"),
        _FILE + "symlink-at": _of_files("string,string"),
        _FILE + "unlink-file-at": _of_files("string"),
        _FILE + "is-same-object": "(borrow<descriptor>,borrow<descriptor>)->bool",
        _FILE + "metadata-hash": _of_files("", _HASH),
        _FILE + "metadata-hash-at": _of_files(f"{_FOLLOW},string", _HASH),
        "[method]directory-entry-stream.read-directory-entry": (
            f"(borrow<directory-entry-stream>)->result<{_ENTRY},{_FILE_ERROR}>"
        ),
        "filesystem-error-code": f"(borrow<error>)->option<{_FILE_ERROR}>",
    },
    "wasi:sockets/instance-network": {"instance-network": "()->own<network>"},
    "wasi:sockets/tcp-create-socket": {"create-tcp-socket": f"({_FAMILY})->result<own<tcp-socket>,{_SOCKET_ERROR}>"},
    "wasi:sockets/udp-create-socket": {"create-udp-socket": f"({_FAMILY})->result<own<udp-socket>,{_SOCKET_ERROR}>"},
    "wasi:sockets/ip-name-lookup": {
        "resolve-addresses": f"(borrow<network>,string)->result<own<resolve-address-stream>,{_SOCKET_ERROR}>"
    },
}
"""By interface without its version, and name. What sockets could do is left out: there are none to do it with."""

_SOCKETS: Final = tuple(
    f"[method]{name}."
    for name in (
        *("tcp-socket", "udp-socket", "incoming-datagram-stream", "outgoing-datagram-stream"),
        "resolve-address-stream",
    )
)
_RUN_TYPE: Final = "()->result<_,_>"


def signature_fault(component: Component, engine: Engine) -> str | None:
    """Why this component's imports, or its command, are not those of WASI preview 2; None where they are."""
    resources: dict[str, list[ResourceType]] = {}
    instances = []
    for name, extern in component.type.imports(engine).items():
        if not isinstance(extern.ty, ComponentInstanceType):
            return f"it asks for {name}, which is no interface"
        items = [(item, kind.ty) for item, kind in extern.ty.exports(engine).items()]
        instances.append((name, items))
        for item, kind in items:
            if isinstance(kind, ResourceType):
                resources.setdefault(item, []).append(kind)
    for name, items in instances:
        for item, kind in items:
            fault = _fault_of(split_version(name)[0], item, kind, resources)
            if fault is not None:
                return f"it asks for {item} of {name}, {fault}"
    return _run_fault(component, engine)


def _fault_of(interface: str, item: str, kind: Any, resources: Mapping[str, list[ResourceType]]) -> str | None:
    if isinstance(kind, ResourceType):
        return None if item in RESOURCE_TYPES else "a resource that WASI preview 2 has not"
    if isinstance(kind, ComponentInstanceType | ComponentType | ModuleType):
        return "which is neither a function nor a type"
    if not isinstance(kind, FuncType) or (interface.startswith("wasi:sockets/") and item.startswith(_SOCKETS)):
        return None
    wanted = SIGNATURES.get(interface, {}).get(item)
    if wanted is None:
        return "a function that WASI preview 2 has not"
    said = _text_of(kind, resources)
    if said == wanted:
        return None
    return f"with the type {_short(said)}; in WASI preview 2 it is {_short(wanted)}"


def _run_fault(component: Component, engine: Engine) -> str | None:
    for name, extern in component.type.exports(engine).items():
        if split_version(name)[0] == RUN:
            run = extern.ty.exports(engine).get("run") if isinstance(extern.ty, ComponentInstanceType) else None
            if run is None or not isinstance(run.ty, FuncType):
                return f"its {name} has no function run"
            said = _text_of(run.ty, {})
            return None if said == _RUN_TYPE else f"the run of its {name} has the type {_short(said)}, not {_RUN_TYPE}"
    return f"it does not export {RUN}@0.2: it is a library, not a command"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _text_of(function: FuncType, resources: Mapping[str, list[ResourceType]]) -> str:
    arguments = ",".join(_type_text(kind, resources) for _, kind in function.params)
    result = function.result
    return f"({arguments})" + ("" if result is None else f"->{_type_text(result, resources)}")


def _type_text(kind: Any, resources: Mapping[str, list[ResourceType]]) -> str:
    """The type as one text, with all that it is made of: equal texts are equal types."""

    def of(inner: Any) -> str:
        return "_" if inner is None else _type_text(inner, resources)

    match kind:
        case ListType():
            return f"list<{of(kind.element)}>"
        case OptionType():
            return f"option<{of(kind.payload)}>"
        case ResultType():
            return f"result<{of(kind.ok)},{of(kind.err)}>"
        case TupleType():
            return f"tuple<{','.join(map(of, kind.elements))}>"
        case RecordType():
            return f"record{{{','.join(f'{name}:{of(field)}' for name, field in kind.fields)}}}"
        case VariantType():
            cases = (name if payload is None else f"{name}({of(payload)})" for name, payload in kind.cases)
            return f"variant{{{','.join(cases)}}}"
        case EnumType():
            return f"enum{{{','.join(kind.names)}}}"
        case FlagsType():
            return f"flags{{{','.join(kind.names)}}}"
        case OwnType():
            return f"own<{_resource_name(kind.ty, resources)}>"
        case BorrowType():
            return f"borrow<{_resource_name(kind.ty, resources)}>"
    return type(kind).__name__.lower()


def _resource_name(resource: ResourceType, resources: Mapping[str, list[ResourceType]]) -> str:
    return next((name for name, kinds in resources.items() if any(resource == kind for kind in kinds)), "?")
