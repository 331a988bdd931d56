"""The app put together: settings, services and state, each made when first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from shared.clock import Clock, Deadline, SystemClock
from shared.errors import Unreachable
from shared.settings import Environment, Settings

if TYPE_CHECKING:
    from datetime import datetime

    from shared.audit.feed import ActivityFeed
    from shared.audit.graph import AuditSearch
    from shared.dataverse.profile import Profile
    from shared.dataverse.users import UserNames
    from shared.dataverse.web_api import WebApi
    from shared.net.identity import Tokens
    from shared.net.transport import Transport
    from shared.publishing.derived import Derivations, JournalMarks
    from shared.publishing.forgotten import ForgottenPeople
    from shared.publishing.layout import Layout
    from shared.publishing.publisher import Publisher
    from shared.publishing.staging import Staging
    from shared.state.checkpoints import Checkpoints
    from shared.state.environments import EnvironmentTable
    from shared.state.journal import Journal
    from shared.state.ledger import Ledger
    from shared.state.register import Register
    from shared.state.sources import Sources
    from shared.state.storage import Storage
    from shared.state.storage import Transport as StorageTransport

CONNECTIONS_PER_HOST = 64
"""Kept open: five content types fetch with twelve threads each from one host."""
ACTIVITY_REQUESTS_PER_MINUTE = 1_950
"""The service grants 2,000 a minute and tenant at least (Management Activity API reference)."""
LONGEST_TURN_S = 80.0
"""How long one thread waits for what another one makes: as long as storage may take to answer, or not to."""
Made = TypeVar("Made")


class once(cached_property[Made]):  # noqa: N801 - a decorator
    """Made when first needed, once for all threads: a new worker is given a dozen messages at the same time.

    Where storage does not answer, all of them would wait for it one after the other, far beyond their deadlines.
    """

    def __get__(self, instance: App, owner: type[App] | None = None) -> Made:  # type: ignore[override] - of an app
        if not instance.lock.acquire(timeout=LONGEST_TURN_S):
            raise Unreachable("The data storage account does not answer.", LONGEST_TURN_S)
        try:
            return super().__get__(instance, owner)
        finally:
            instance.lock.release()


class App:
    """What the functions of one worker share.

    Everything heavy is imported where it is made, so that a function pays only for what it uses. A test may
    bring its own clock, transport and storage transport.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        transport: Transport | None = None,
        storage_transport: Callable[[], StorageTransport] | None = None,
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self._transport = transport
        self._storage_transport = storage_transport
        self.lock = threading.RLock()
        self._web_apis: dict[Environment, WebApi] = {}
        self._user_names: dict[Environment, UserNames] = {}

    def deadline(self, seconds: float) -> Deadline:
        return Deadline.after(self.clock, seconds)

    @once
    def tokens(self) -> Tokens:
        from shared.net.identity import Tokens, managed_identity

        return Tokens(lambda: managed_identity(self.settings.client_id))

    @once
    def transport(self) -> Transport:
        from shared.net.transport import PooledTransport

        return self._transport or PooledTransport(CONNECTIONS_PER_HOST)

    @once
    def storage(self) -> Storage:
        from shared.net.identity import managed_identity
        from shared.state.storage import Storage

        where = self.settings.storage
        credential = None if where.connection_string else managed_identity(where.client_id)
        storage = Storage(where, credential, self._storage_transport)
        storage.create_missing()
        return storage

    @once
    def checkpoints(self) -> Checkpoints:
        from shared.state.checkpoints import Checkpoints
        from shared.state.names import StateTable

        return Checkpoints(self.storage.table(StateTable.CHECKPOINTS))

    @once
    def journal(self) -> Journal:
        from shared.state.journal import Journal
        from shared.state.names import StateTable

        return Journal(
            self.storage.table(StateTable.INGEST_LOG), self.storage.table(StateTable.GAPS), self.checkpoints
        )

    @once
    def sources(self) -> Sources:
        from shared.state.sources import Sources

        return Sources(self.checkpoints)

    @once
    def register(self) -> Register:
        from shared.state.names import StateTable
        from shared.state.register import Register

        return Register(self.storage.table(StateTable.FLOW_SESSIONS))

    @once
    def ledger(self) -> Ledger:
        from shared.state.ledger import Ledger
        from shared.state.names import StateTable

        return Ledger(self.storage.table(StateTable.AUDIT_CONTENT))

    @once
    def environments(self) -> EnvironmentTable:
        from shared.state.environments import EnvironmentTable
        from shared.state.names import StateTable

        return EnvironmentTable(self.storage.table(StateTable.ENVIRONMENTS))

    @once
    def staging(self) -> Staging:
        from shared.publishing.staging import Staging

        return Staging(self.storage.blobs)

    @once
    def publisher(self) -> Publisher:
        from shared.publishing.publisher import Publisher

        return Publisher(self.storage.blobs, self.staging, self.derivations, self.forgotten, self.layout)

    @once
    def forgotten(self) -> ForgottenPeople:
        from shared.publishing.forgotten import ForgottenPeople

        return ForgottenPeople(self.checkpoints)

    @once
    def layout(self) -> Layout:
        from shared.publishing.layout import Layout

        return Layout(self.storage.blobs, self.checkpoints, self.settings.publish_grain)

    @once
    def derivations(self) -> Derivations:
        from shared.publishing.derived import Derivations
        from shared.publishing.reach import Reach

        return Derivations(self.storage.blobs, self.staging, self.journal, Reach(self.checkpoints))

    @once
    def journal_marks(self) -> JournalMarks:
        from shared.publishing.derived import JournalMarks

        return JournalMarks(self.journal, self.staging, self.checkpoints, self.clock)

    def web_api(self, environment: Environment) -> WebApi:
        """The Web API of an environment, with one cool-down for all threads of the worker."""
        from shared.dataverse.web_api import WebApi
        from shared.net.api import Api
        from shared.net.policy import DATAVERSE
        from shared.net.throttle import Cooldown

        with self.lock:
            if environment not in self._web_apis:
                cooldown = Cooldown(self.clock)
                api = Api(environment.url, DATAVERSE, self.tokens, self.transport, self.clock, cooldown)
                self._web_apis[environment] = WebApi(api)
            return self._web_apis[environment]

    def user_names(self, environment: Environment) -> UserNames:
        from shared.dataverse.users import UserNames

        with self.lock:
            if environment not in self._user_names:
                self._user_names[environment] = UserNames(self.web_api(environment))
            return self._user_names[environment]

    def profile(self, environment: Environment, deadline: Deadline, newer_than: datetime | None = None) -> Profile:
        """What an environment is: as learnt within the last day, else asked for now and remembered."""
        from shared.dataverse.profile import read_profile

        now = self.clock.now()
        profile = self.environments.fresh(environment, now)
        if profile is None or (newer_than and profile.checked_utc < newer_than):
            known = self.environments.known(environment)
            profile = read_profile(self.web_api(environment), environment.name, now, deadline, known)
            self.environments.save(environment, profile)
        return profile

    @once
    def activity_feed(self) -> ActivityFeed:
        from shared.audit.feed import ActivityFeed
        from shared.net.api import Api
        from shared.net.policy import ACTIVITY
        from shared.net.throttle import Cooldown, Pace

        root = self.settings.activity_root
        pace = Pace(self.clock, ACTIVITY_REQUESTS_PER_MINUTE)
        api = Api(root, ACTIVITY, self.tokens, self.transport, self.clock, Cooldown(self.clock), pace)
        return ActivityFeed(api, self.settings.tenant_id)

    @once
    def audit_search(self) -> AuditSearch:
        from shared.audit.graph import AuditSearch
        from shared.net.api import Api
        from shared.net.policy import GRAPH
        from shared.net.throttle import Cooldown

        root = self.settings.graph_root
        return AuditSearch(Api(root, GRAPH, self.tokens, self.transport, self.clock, Cooldown(self.clock)))
