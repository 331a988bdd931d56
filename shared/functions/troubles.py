"""What an error of a source means for an administrator: a code word, what is wrong, and what to do now."""

from __future__ import annotations

from shared.errors import AccessError, FlowtrailError, Gone, Throttled, Unreachable
from shared.health.codes import Code
from shared.net.policy import ADD_APP_USER, GIVE_ROLE
from shared.settings import Environment, Settings
from shared.state.sources import Trouble

WAIT = (
    "Nothing at once: the app waits as long as the service asks and then goes on by itself. If it lasts for a "
    "day, find out what else reads there under the same identity or tenant, or let {schedule} come less often."
)
LOOK_THERE = (
    "Open {url} in a browser. If the environment was deleted or moved, correct ENVIRONMENTS; if it opens, the "
    "network between the app and it is at fault (private network, firewall, DNS)."
)
LOOK_AT_SERVICE = (
    "See whether {url} is down (Microsoft 365 admin center, Service health); check the app's network."
)
REPORT = "The app tries again by itself. If it lasts for a day, report the error with the app's log of that time."
FEED_ROLE = "ActivityFeed.Read"
ROLES_ARRIVE_LATE = "Then restart the app; a new role can take up to a day to reach its tokens."


def trouble_of(error: Exception, settings: Settings, source: str) -> Trouble:
    """The service's own words come last; what comes before is for whoever has never seen such an error."""
    environment = next((one for one in settings.environments if one.name == source), None)
    url = environment.url if environment else settings.activity_root
    if isinstance(error, Gone):
        return Trouble(Code.ENVIRONMENT_GONE, f"There is no environment at {url}. {error.message}", error.advice)
    if isinstance(error, AccessError):
        problem = f"It refuses the app's identity, and so nothing of it is read. {error.message}"
        return Trouble(Code.ACCESS_REFUSED, problem, _way_in(error, environment))
    if isinstance(error, Throttled):
        schedule = "FLOW_SESSIONS_SCHEDULE" if environment else "AUDIT_CONTENT_SCHEDULE"
        problem = f"It has asked the app to pause, and so nothing of it is read. {error}"
        return Trouble(Code.THROTTLED, problem, WAIT.format(schedule=schedule))
    if isinstance(error, Unreachable):
        text = LOOK_THERE if environment else LOOK_AT_SERVICE
        return Trouble(Code.UNREACHABLE, f"No answer comes from {url}. {error}", text.format(url=url))
    problem = str(error) if isinstance(error, FlowtrailError) else f"{type(error).__name__}: {error}"
    return Trouble(Code.SOURCE_FAILING, f"Reading it fails. {problem}", REPORT)


def _way_in(error: AccessError, environment: Environment | None) -> str:
    """The service's own advice; where a script of ours follows it, its command too."""
    if environment and error.advice in (ADD_APP_USER, GIVE_ROLE):
        return f"Run infra/grant-dataverse.sh {environment.url}. By hand: {error.advice}"
    return f"{error.advice} {ROLES_ARRIVE_LATE}" if FEED_ROLE in error.advice else error.advice
