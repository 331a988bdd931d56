"""A run's action log, written from its plan: the V1 file and the V2 rows.

The shape of an action is that of a real V1 file: localised and neutral names, 7-digit times, text values.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any

from local.tenant.generation.catalogue import (
    ERROR_BLOCK,
    FOR_EACH,
    IF,
    LEAVES,
    RUN_SUBFLOW,
    ActionKind,
    Parameter,
)
from local.tenant.generation.estate import Estate
from local.tenant.generation.rows import action_trouble, told
from local.tenant.generation.runs import FAILED, LogShape, Run
from local.tenant.generation.troubles import ACTION_TROUBLES, Trouble
from local.tenant.world import Row, stable_id

_TICKS = 10_000_000
_MAIN, _SUBFLOW = "main", "Anmeldung"
_CUSTOM_LOG, _ACTION = 100000000, 100000001
_INFO, _ERROR = 100000002, 100000004


@dataclass(frozen=True, slots=True)
class Statement:
    """One line of a flow; a container has the statements inside it."""

    kind: ActionKind
    line: int
    subflow: str
    body: tuple[Statement, ...] | None = None
    in_error_block: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """What a flow does: first once, then its loop as long as there is work, at last once more."""

    opening: tuple[Statement, ...]
    loop: Statement
    closing: tuple[Statement, ...]


@lru_cache(maxsize=4096)
def script(seed: int, environment: int, flow: int) -> Script:
    rng = Random((seed * 1009 + environment) * 1009 + flow)
    sign_in = tuple(Statement(_leaf(rng), line, _SUBFLOW) for line in range(1, 4))
    opening = (*(Statement(_leaf(rng), line, _MAIN) for line in (1, 2)), Statement(RUN_SUBFLOW, 3, _MAIN, sign_in))
    guarded = tuple(Statement(_leaf(rng), line, _MAIN, in_error_block=True) for line in (10, 11))
    chosen = tuple(Statement(_leaf(rng), line, _MAIN) for line in (14, 15))
    body = (
        *(Statement(_leaf(rng), line, _MAIN) for line in range(6, 6 + rng.randint(1, 3))),
        Statement(ERROR_BLOCK, 9, _MAIN, guarded),
        Statement(IF, 13, _MAIN, chosen),
        Statement(_leaf(rng), 17, _MAIN),
    )
    closing = tuple(Statement(_leaf(rng), line, _MAIN) for line in (20, 21))
    return Script(opening, Statement(FOR_EACH, 5, _MAIN, body), closing)


def _leaf(rng: Random) -> ActionKind:
    return LEAVES[int(rng.random() * len(LEAVES))]


@dataclass(slots=True)
class _Step:
    """One executed action; times in seconds since the run's start, before they are scaled to its length."""

    statement: Statement
    begin: float
    end: float = 0.0
    trouble: Trouble | None = None
    handled: bool = False


@dataclass(slots=True)
class _Execution:
    """Runs a script for an exact number of actions."""

    rng: Random
    left: int
    now: float = 0.0
    steps: list[_Step] = field(default_factory=list)

    def run(self, plan: Script) -> None:
        reserve = len(plan.closing) if self.left > len(plan.opening) + len(plan.closing) + 4 else 0
        self.left -= reserve
        self.all(plan.opening)
        while self.left > 0:
            self.one(plan.loop)
        self.left = reserve
        self.all(plan.closing)

    def all(self, statements: tuple[Statement, ...]) -> None:
        for statement in statements:
            if self.left > 0:
                self.one(statement)

    def one(self, statement: Statement) -> None:
        """Executes a statement; a container that has no action left for its inside gives way to its first."""
        self.left -= 1
        if statement.body and self.left == 0:
            statement = statement.body[0]
        step = _Step(statement, self.now)
        self.steps.append(step)
        if statement.body is None:
            self.now += statement.kind.typical_s * (0.4 + 1.2 * self.rng.random())
        else:
            self.now += 0.004
            self.repeat(statement)
        step.end = self.now
        self.now += 0.003

    def repeat(self, container: Statement) -> None:
        rounds = 2 + int(self.rng.random() * 30) if container.kind is FOR_EACH else 1
        for _ in range(rounds):
            self.all(container.body or ())


def _executed(estate: Estate, run: Run) -> list[_Step]:
    """The steps of a run; the last one fails when the run did, one before it may fail and be handled."""
    rng = Random(estate.seed * 7919 + estate.number * 104_729 + run.draw.number)
    execution = _Execution(rng, run.actions)
    execution.run(script(estate.seed, estate.number, run.draw.flow))
    steps = execution.steps
    ending = run.course.status == FAILED
    steps[-1].trouble = action_trouble(run) if ending else None
    leaves = [step for step in steps[:-1] if step.statement.body is None]
    for step in rng.sample(leaves, run.failed_actions - ending):
        step.trouble, step.handled = ACTION_TROUBLES[0], True
    return steps


def actions(estate: Estate, run: Run) -> list[dict[str, Any]]:
    """All actions of a run in the order of their begin."""
    steps = _executed(estate, run)
    length_s = (run.course.ended_s or 0.0) - (run.course.started_s or 0.0)
    ticks_per_s = length_s * _TICKS / max(step.end for step in steps)
    started = int((run.course.started_s or 0.0) * _TICKS)
    writer = _Writer(estate, run, Random(run.draw.number))
    return [
        writer.action(step, started + int(step.begin * ticks_per_s), started + int(step.end * ticks_per_s))
        for step in steps
    ]


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes steps as the agent does, in the language of its machine."""

    estate: Estate
    run: Run
    rng: Random

    def action(self, step: _Step, begin: int, end: int) -> dict[str, Any]:
        statement, kind = step.statement, step.statement.kind
        german = self.estate.profile.language == "de"
        content = {
            "name": kind.name_de if german else kind.name,
            "systemActionName": kind.action,
            "systemModuleName": kind.module,
            "localizedModuleName": kind.module_label_de if german else kind.module_label,
            "startTime": tick_text(begin),
            "endTime": tick_text(end),
            "index": statement.line,
            "functionName": statement.subflow,
            "insideErrorHandling": statement.in_error_block or step.handled,
            "status": "Failed" if step.trouble else "Succeeded",
            "inputs": self._parameters(kind.inputs, german=german),
            "outputs": {} if step.trouble else self._parameters(kind.outputs, german=german),
        }
        return {**content, "error": self._error(step, step.trouble)} if step.trouble else content

    def _parameters(self, parameters: tuple[Parameter, ...], *, german: bool) -> dict[str, Any]:
        return {
            parameter.name: {
                "localizedName": parameter.label_de if german else parameter.label,
                "value": parameter.value.replace("#", str(int(self.rng.random() * 1000))),
                "variableName": parameter.variable,
            }
            for parameter in parameters
        }

    def _error(self, step: _Step, trouble: Trouble) -> dict[str, Any]:
        return {
            "code": trouble.code,
            "correlationId": stable_id(self.run.draw.session_id, step.begin),
            "message": told(trouble, self.estate.flows[self.run.draw.flow].name),
        }


def tick_text(ticks: int) -> str:
    """A time in ticks of 100 ns since the epoch as .NET writes it, with seven digits."""
    seconds, fraction = divmod(ticks, _TICKS)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{fraction:07d}Z"


def log_file(estate: Estate, run: Run) -> bytes:
    """The content of `additionalcontext`, in the shape that this run's accident gave it."""
    content = {"actions": actions(estate, run), "childFlowsLogStatus": "Default"}
    plain = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    match run.draw.shape:
        case LogShape.EMPTY:
            return b""
        case LogShape.CUT:
            return plain[: len(plain) * 2 // 3]
        case LogShape.TEXT:
            return b"<html><body>503 Service Unavailable</body></html>"
        case LogShape.BASE64:
            return base64.b64encode(plain)
        case LogShape.MARKED:
            return b"\xef\xbb\xbf" + plain
        case _:
            return plain


def flowlog_rows(estate: Estate, run: Run) -> tuple[Row, ...]:
    """The V2 rows: one line of the author's own, then one for each action, visible soon after its end."""
    written = actions(estate, run)
    opening = {"message": "Start: " + estate.flows[run.draw.flow].name}
    first = _flowlog(estate, run, 0, written[0]["startTime"], {"type": _CUSTOM_LOG, "data": _text(opening)})
    rows = [_flowlog(estate, run, at, action["endTime"], _action(action)) for at, action in enumerate(written, 1)]
    return (first, *rows)


def _action(action: dict[str, Any]) -> Row:
    """An action as V2 writes it: its error flat, its length beside it."""
    flat = {name: value for name, value in action.items() if name != "error"}
    if error := action.get("error"):
        flat |= {"errorCode": error["code"], "errorMessage": error["message"]}
    begin, end = (datetime.fromisoformat(action[name]) for name in ("startTime", "endTime"))
    return {
        "type": _ACTION,
        "level": _ERROR if error else _INFO,
        "duration": round((end - begin) / timedelta(milliseconds=1)),
        "data": _text(flat),
    }


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _flowlog(estate: Estate, run: Run, at: int, time: str, columns: Row) -> Row:
    written = datetime.fromisoformat(time) + timedelta(milliseconds=700)
    machine = estate.machines[run.draw.machine]
    return {
        "flowlogid": stable_id(run.draw.session_id, "flowlog", at),
        "name": f"{run.draw.session_id[:8]}-{at:06d}",
        "partitionid": run.draw.session_id,
        "ttlinseconds": 2_419_200,
        "createdon": written,
        "modifiedon": written,
        "logindex": at,
        "level": _INFO,
        "versionnumber": at + 1,
        "_parentobjectid_value": run.draw.session_id,
        "_flowsessionid_value": run.draw.session_id,
        "_desktopflowid_value": estate.flows[run.draw.flow].flow_id,
        "_flowmachineid_value": machine.machine_id,
        "_flowmachinegroupid_value": machine.group_id,
        **columns,
    }
