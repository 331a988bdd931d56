"""Copies the state tables of one data storage account to another, in which nothing has run yet.

    python3 dev.py move OLD NEW

OLD and NEW are the names of the accounts, their blob endpoints, or connection strings. Unless they are the last,
you are who DefaultAzureCredential finds, such as the user of 'az login', and need the role Storage Table Data
Reader on the old account, Storage Table Data Contributor and Storage Queue Data Message Sender on the new one.
docs/deploy.md tells the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby

from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential

from local.forget import data_storage
from shared.batches import batches
from shared.dataverse.log_messages import LogRequest, requests_for
from shared.dataverse.log_settings import BOTH, GRACE, SURE, V2
from shared.errors import FlowtrailError, Stop
from shared.state.checkpoints import Checkpoints
from shared.state.entities import Entities, Operation, Write
from shared.state.environments import EnvironmentTable
from shared.state.journal import HEARTBEAT
from shared.state.names import Queue, StateTable
from shared.state.register import Register
from shared.state.storage import Storage
from shared.state.version import KIND, ROW, refuse_newer

AT_ONCE = 1000


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    try:
        old, new = (_storage(text) for text in (options.old, options.new))
        for table, number in copy_state(old, new):
            print(f"{number:>9,}  {table}", flush=True)
    except (FlowtrailError, AzureError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print("All tables are copied.")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py move", description=(__doc__ or "").splitlines()[0])
    for name in ("old", "new"):
        parser.add_argument(name, help=f"the {name} account: name, blob endpoint or connection string")
    return parser.parse_args(argv)


def _storage(text: str) -> Storage:
    where = data_storage(text)
    return Storage(where, None if where.connection_string else DefaultAzureCredential())


def copy_state(old: Storage, new: Storage) -> Iterator[tuple[StateTable | Queue, int]]:
    """Copy table by table, and tell the number of entities after each, then ask for logs as the old queue does.

    The version of the state is written last of all: where it stands, an app has run or a copy is whole, and one
    that broke off can be begun anew.

    Raises:
        Stop: the old account holds no state, or that of a newer version; the new one holds some already.
    """
    version = refuse_newer(Checkpoints(old.table(StateTable.CHECKPOINTS)))
    if not version.values:
        raise Stop("The old account holds no state of this version: let this version run there first.")
    target = Checkpoints(new.table(StateTable.CHECKPOINTS)).load(KIND, ROW)
    if target.values:
        raise Stop("The new account holds state already: an app has run there, or everything is copied.")
    for name in StateTable:
        yield name, _copy(old.table(name), new.table(name))
    yield Queue.ADDITIONAL_CONTEXT, _ask_again(new)
    new.table(StateTable.CHECKPOINTS).write(Operation(Write.CREATE, KIND, ROW, version.values))


def _copy(old: Entities, new: Entities) -> int:
    number = 0
    for _, entities in groupby(old.all(), lambda entity: entity.partition):
        copies = (
            Operation(Write.UPSERT, entity.partition, entity.row, entity.properties)
            for entity in entities
            if (entity.partition, entity.row) != (KIND, ROW)
        )
        for batch in batches(copies, AT_ONCE):
            new.write_all(batch)
            number += len(batch)
    return number


def _ask_again(storage: Storage) -> int:
    """Ask for the logs that nothing but messages of the old queue asks for, and return the number of messages.

    Those are left behind: nobody can see a message that waits for its time.
    """
    requests = list(_left_behind(storage))
    for request in requests:
        storage.queues.send(Queue.ADDITIONAL_CONTEXT, request.body())
    return len(requests)


def _left_behind(storage: Storage) -> Iterator[LogRequest]:
    """Second looks that may be due, and logs that failed, each of which has a message of its own."""
    beats = Checkpoints(storage.table(StateTable.CHECKPOINTS)).all(HEARTBEAT).values()
    stopped = max(filter(None, (beat.values.get("succeeded_utc") for beat in beats)), default=None)
    register = Register(storage.table(StateTable.FLOW_SESSIONS))
    for entity in EnvironmentTable(storage.table(StateTable.ENVIRONMENTS)).all():
        if stopped and (environment_id := entity.get("environment_id")):
            taken = register.taken_since(environment_id, stopped - GRACE - SURE)
            may_grow = (run for run in taken if run.log_version == V2 or entity.get("log_version") == BOTH)
            for request in requests_for(entity.get("url"), may_grow):
                yield request.only(request.session_ids, recheck=True)
            unsettled = register.unsettled(environment_id, stopped)
            yield from requests_for(entity.get("url"), (run for run in unsettled if run.log_failing_utc))


if __name__ == "__main__":
    sys.exit(main())
