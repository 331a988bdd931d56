"""Errors of runs and of actions, with the texts that people see.

Codes of runs: Microsoft's knowledge base article on desktop flow error codes; the texts are made up.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of error; `{name}` in the message is the machine or flow concerned."""

    code: str
    message: str


# What keeps a run from its flow.
RUN_TROUBLES = (
    Trouble(
        "NoCandidateMachine",
        "\nNo machine of the group could take the run in 6 hours.\nMachine group: {name}\nQueued runs ahead: 3",
    ),
    Trouble(
        "SessionCreationError",
        "\nA Windows session could not be opened on {name}.\nThe logon process has been ended by the system.",
    ),
    Trouble(
        "SessionExistsForTheUserWhenUnattended",
        "\nThe user is signed in on {name} already.\nUnattended runs need the session to themselves.",
    ),
    Trouble("NoUnlockedActiveSessionForAttended", "\nNo unlocked session of the user was found.\nMachine: {name}"),
    Trouble("WindowsIdentityIncorrect", "\nThe connection's user name or password was refused by {name}."),
    Trouble("ConnectionNotEstablished", "\nThe machine {name} is offline.\nIt was last seen 14 minutes ago."),
    Trouble("TooManyActiveSessions", "\nThe session limit of {name} is reached."),
    Trouble("UIFlowAlreadyRunning", "\nAnother flow occupies the session on {name}."),
    Trouble("DesktopFlowsActionTimeout", "\nThe run was given up after its time limit.\nFlow: {name}"),
)

# What fails inside a flow.
ACTION_TROUBLES = (
    Trouble("ElementNotFound", "Element “Speichern” was not found.\r\nScreen: {name}\r\nSelector attempts: 3"),
    Trouble("FileNotFound", "The file C:\\Übergabe\\{name}.xlsx does not exist."),
    Trouble("WebRequestFailed", "The remote server answered 503.\r\nAttempt 3 of 3\r\nRequest: {name}"),
    Trouble("TypeMismatch", "“{name}” cannot be converted to a number."),
    Trouble("SqlTimeout", "Execution timeout expired.\r\nThe statement has been terminated."),
)
