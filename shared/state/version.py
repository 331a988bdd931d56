"""The version of the state in the data storage account: an older one is migrated, a newer one refused.

It stands in the table `checkpoints`, partition `state`, row `version`. State without it is of version 1.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import Conflict, Defer, Stop
from shared.state.checkpoints import STATE_VERSION, Checkpoint, Checkpoints
from shared.state.names import Container

if TYPE_CHECKING:
    from shared.app import App
    from shared.state.blobs import Lease

log = logging.getLogger("flowtrail")

KIND, ROW = "state", "version"
LOCK = "locks/state/lock"
PAUSE_S = 60.0


@dataclass(frozen=True)
class Migration:
    """A step to a version. A crash repeats it as a whole, so running it again must change nothing.

    A long one renews the lease between its parts, so that no other worker begins the same.
    """

    to_version: int
    what: str
    run: Callable[[App, Lease], None]


MIGRATIONS: tuple[Migration, ...] = ()
"""In order, each to the version behind the one before; the last one leads to `STATE_VERSION`."""


def refuse_newer(checkpoints: Checkpoints, migrations: Sequence[Migration] = MIGRATIONS) -> Checkpoint:
    """Where the version stands, if this app can work with it or bring it up to date.

    Raises:
        Stop: a newer version of the app wrote the state.
    """
    place = checkpoints.load(KIND, ROW)
    if (found := _version(place)) > _newest(migrations):
        raise Stop(
            f"The data storage account holds state of version {found}, this app knows {_newest(migrations)}: "
            "a newer app wrote it. Deploy that version again; nothing has been changed."
        )
    return place


def ensure_current(app: App, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring older state up to date, step by step; the version is written after each.

    Raises:
        Stop: a newer version of the app wrote the state.
        Defer: another worker is at it.
    """
    place = refuse_newer(app.checkpoints, migrations)
    if _version(place) == _newest(migrations):
        if not place.values:
            with suppress(Conflict):  # another worker starts on new storage at the same moment
                app.checkpoints.save(place, {"version": _newest(migrations)})
        return
    try:
        with app.storage.blobs.leased(Container.STAGING, LOCK) as lease:
            _migrate(app, migrations, lease)
    except Conflict as error:
        raise Defer("Another worker is bringing the state to a newer version.", PAUSE_S) from error


def _migrate(app: App, migrations: Sequence[Migration], lease: Lease) -> None:
    place = refuse_newer(app.checkpoints, migrations)
    for step in migrations:
        if step.to_version > _version(place):
            log.warning("The state is brought to version %d: %s", step.to_version, step.what)
            lease.renew()
            step.run(app, lease)
            place = app.checkpoints.save(place, {"version": step.to_version})
    app.checkpoints.save(place, {"version": _newest(migrations)})


def _version(place: Checkpoint) -> int:
    return int(place.values.get("version") or 1)


def _newest(migrations: Sequence[Migration]) -> int:
    return max((step.to_version for step in migrations), default=STATE_VERSION)
