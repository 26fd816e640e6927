"""fhec compiles trained neural networks into programs that a server runs on encrypted data.

    plan = fhec.compile(model, calibration=x)              # a module of PyTorch, or an ONNX file
    client = fhec.Client(plan)                             # holds the secret key
    server = fhec.Server(plan, client.evaluation_keys())   # holds nothing that decrypts
    results = server.eval(client.encrypt(images))          # bytes in, bytes out
    scores = client.decrypt(results)

``plan.report()`` shows what the plan is and costs, ``plan.simulate(x)`` runs it in the clear with modelled noise.
"""

import importlib
from typing import Any

from . import errors
from ._fhec import VERSION as __version__
from .client import Client
from .comparison import Comparison
from .compiler import compile, load
from .errors import (
    CancelledError,
    CiphertextError,
    CompileError,
    DataError,
    EngineError,
    Error,
    FhecWarning,
    FileError,
    InputsError,
    InsecureError,
    Issue,
    LimitError,
    MissingPackageError,
    ModelError,
    PassphraseError,
    PlanError,
    RefusedError,
    ResultsError,
    ServiceError,
    UsageError,
    WorkerLostError,
)
from .parts import join, split
from .plan import ClientPlan, Plan, Port, Report, Simulation
from .remote import RemoteClient
from .server import Server


def __getattr__(name: str) -> Any:
    # What needs other packages is imported when it is asked for.
    if name in ("ray", "sklearn"):
        return importlib.import_module(f"fhec.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CancelledError",
    "CiphertextError",
    "Client",
    "ClientPlan",
    "Comparison",
    "CompileError",
    "DataError",
    "EngineError",
    "Error",
    "FhecWarning",
    "FileError",
    "InputsError",
    "InsecureError",
    "Issue",
    "LimitError",
    "MissingPackageError",
    "ModelError",
    "PassphraseError",
    "Plan",
    "PlanError",
    "Port",
    "RefusedError",
    "RemoteClient",
    "Report",
    "ResultsError",
    "Server",
    "ServiceError",
    "Simulation",
    "UsageError",
    "WorkerLostError",
    "__version__",
    "compile",
    "errors",
    "join",
    "load",
    "split",
]
