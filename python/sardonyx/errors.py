"""The exceptions that Sardonyx raises, under the names that onnxruntime uses for the same faults.

Every class derives from `Error` and, where Python has a built-in for the fault, from that too, so that both
`except sardonyx.errors.NoSuchFile` and `except FileNotFoundError` work.
"""

__all__ = [
    "DeadlineExceeded",
    "DeviceReset",
    "EPFail",
    "EngineError",
    "Error",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "ModelLoadCanceled",
    "ModelLoaded",
    "ModelRequiresCompilation",
    "NoModel",
    "NoSuchFile",
    "NotFinite",
    "NotFound",
    "NotImplemented",
    "RuntimeException",
    "Terminated",
]


class Error(Exception):
    """Base of everything that Sardonyx raises on purpose."""


class Fail(Error, RuntimeError):
    """A fault that no other class describes."""


class InvalidArgument(Error, ValueError):
    """A name, shape, type or option that the caller passed is wrong; also a bad value in a model's data."""


class NoSuchFile(Error, FileNotFoundError):
    """The model, or the data that it keeps in other files, is not there."""


class NoModel(Error, ValueError):
    """There is no model in what was given."""


class EngineError(Error, RuntimeError):
    """A device reported an error."""


class RuntimeException(Error, RuntimeError):
    """The run failed for a reason outside the model, such as memory."""


class InvalidProtobuf(Error, ValueError):
    """The bytes are not an ONNX model."""


class ModelLoaded(Error, RuntimeError):
    """The session has a model already."""


class NotFound(Error, LookupError):
    """Something that was asked for by name does not exist."""


class NotFinite(Error, ArithmeticError):
    """A loss became NaN or Inf; names the step and the node that gave it first."""


class NotImplemented(Error, NotImplementedError):
    """The model asks for something that Sardonyx cannot do; all such nodes are listed."""


class InvalidGraph(Error, ValueError):
    """The model breaks the rules of ONNX."""


class EPFail(Error, RuntimeError):
    """A provider that was insisted on cannot be used."""


class DeviceReset(Error, RuntimeError):
    """A device was reset while it was in use."""


class ModelLoadCanceled(Error, RuntimeError):
    """Loading was stopped through the session options."""


class ModelRequiresCompilation(Error, RuntimeError):
    """Never raised: no model needs compiling beforehand."""


class Terminated(Error, RuntimeError):
    """`RunOptions.terminate` was set while the model ran."""


class DeadlineExceeded(Error, TimeoutError):
    """The run took longer than `RunOptions.deadline`."""
