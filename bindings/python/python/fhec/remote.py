"""A client whose server is a service: it holds the secret key, the service computes over HTTP."""

from __future__ import annotations

import os
from typing import Any, Union

from . import _fhec
from ._arrays import Array
from ._progress import Progress, listening
from .client import Client
from .plan import ClientPlan


class RemoteClient:
    """A :class:`Client` and the service that computes for it, which ``fhec serve`` runs. Nothing but evaluation keys and ciphertexts
    leaves this machine.

    ``keys`` are those of :meth:`Client.evaluation_keys`, as bytes or as the path of a file. They are uploaded before the first request,
    as far as the service does not have them: a file is the same keys again, new keys are uploaded again. ``token`` is what
    ``fhec token`` printed. The address is ``http://…`` or ``https://…``; a token goes over plain http to other machines only with
    ``plain_http``. A service that is busy, stopped or out of reach is waited for, ``patience`` seconds since it was heard last.
    """

    def __init__(
        self,
        address: str,
        client: Client,
        keys: Union[bytes, str, "os.PathLike[str]"],
        *,
        token: str | None = None,
        plain_http: bool = False,
        patience: float = 3600.0,
    ) -> None:
        self.address = address
        """Where the service is."""
        self.client = client
        """Who holds the secret key."""
        self.seconds: float | None = None
        """Seconds in which the service computed the last request."""
        self._service = _fhec.Service(address, token, plain_http, patience)
        self._keys = keys if isinstance(keys, bytes) else os.fspath(keys)
        self._name: str | None = None

    @staticmethod
    def plan_of(address: str, *, token: str | None = None, plain_http: bool = False, patience: float = 60.0) -> ClientPlan:
        """What a client needs of the plan that a service runs. Whoever runs the service chooses its parameters: a :class:`Client`
        refuses those that are marked insecure."""
        return ClientPlan(_fhec.Service(address, token, plain_http, patience).client_plan())

    def upload(self, *, progress: Progress = None) -> str:
        """Uploads the evaluation keys, as far as the service does not have them; their name there. An upload that broke off goes
        on. A service that runs another plan raises :class:`fhec.ServiceError`."""
        with listening(progress, "upload") as callback:
            self._name = self._service.upload(self.client.plan._plan, self._keys, callback)
        return self._name

    def eval(self, request: bytes, *, keep: bool = False, progress: Progress = None) -> bytes:
        """Encrypted results of the encrypted inputs of :meth:`Client.encrypt`, as :meth:`Server.eval` gives them. They answer this very
        request, or :class:`fhec.CiphertextError` is raised. The service removes them, unless ``keep``.

        Ctrl-C raises at once, and has the service call the job off.
        """
        name = self._name or self.upload(progress=progress)
        with listening(progress, "remote") as callback:
            results, self.seconds = self._service.eval(self.client.plan._plan, name, request, keep, callback)
        return results

    def run(
        self, x: Any, *, apply_head: bool = False, force: bool = False, progress: Progress = None
    ) -> Array | dict[str, Array]:
        """Encrypts images, has the service compute, and decrypts the results: see :meth:`Client.encrypt` and
        :meth:`Client.decrypt`."""
        results = self.eval(self.client.encrypt(x, force=force), progress=progress)
        return self.client.decrypt(results, apply_head=apply_head, force=force)

    def __repr__(self) -> str:
        return f"<fhec.RemoteClient of {self.client.plan.model} at {self.address}>"
