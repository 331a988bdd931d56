"""The messages of FunctionRpc.proto that azure-functions-runtime reads and writes, without gRPC.

The library takes this module in the place of the generated protobuf module. It only ever sets fields by name and
reads those that were set, so that a bag of attributes does for most messages.
"""

from types import SimpleNamespace


class Message(SimpleNamespace):
    """Fields given by name; reading one that was not given is an AttributeError, which the library counts on."""


class OneOf(Message):
    """A message of which one field is set besides its name."""

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's name
        return next((name for name in vars(self) if name != "name"), None)


class TypedData(OneOf):
    pass


class ParameterBinding(OneOf):
    pass


class BindingInfo(Message):
    out = 1
    inout = 2
    undefined = 0


class StatusResult(Message):
    Failure = 0
    Success = 1


class RpcHttpCookie(Message):
    SameSite = SimpleNamespace(**{"None": 0}, Lax=1, Strict=2, ExplicitNone=3)


FunctionLoadResponse = Message
FunctionMetadataResponse = Message
InvocationResponse = Message
NullableBool = Message
NullableDouble = Message
NullableString = Message
NullableTimestamp = Message
RpcException = Message
RpcFunctionMetadata = Message
RpcHttp = Message
RpcRetryOptions = Message
Timestamp = Message
WorkerInitResponse = Message
WorkerMetadata = Message
